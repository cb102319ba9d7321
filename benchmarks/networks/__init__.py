"""Networks that people bring, at real size with random weights: exported, loaded, compared."""
