"""Sampling as a pure function: random streams, paths through latent space, posterior draws."""
