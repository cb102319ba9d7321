"""Defaults that the library, its commands and the service's settings share. Nothing is imported for
them: who reads the settings need not wait for NumPy and Pillow."""

MAX_PIXELS = 1 << 26
"""Default limit of one picture's pixels, on every way in: 64 Mi, such as 8192 x 8192. A small file
can declare a huge picture. Opening and fitting one takes at most 22 bytes a pixel (WebP; others up
to 15), so 1.5 GB; a baseline JPEG for a small model less than one."""
