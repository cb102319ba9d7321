"""What an artifact is: its manifest, graphs, golden outputs, prior and signature."""
