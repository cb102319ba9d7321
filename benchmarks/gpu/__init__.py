"""The speed benchmark of NVIDIA GPUs."""
