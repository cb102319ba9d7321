"""What diffusers' `remote_decode` and `remote_encode` send (`diffusers/utils/remote_utils.py`).

A body of raw bytes in C order, its shape and type in the query string; the replies are pictures, or
raw bytes again, their shape and type in headers of these names.

The latents of an artifact are those that diffusion models exchange: z = (v - shift) * factor, where
v are the autoencoder's own, and factor and shift stand in the manifest's provenance, one of each or
one a channel. A client that names a factor sends, and is sent, latents scaled by it; one that names
none, the autoencoder's own.
"""

from bento.protocols.remote_vae.handlers import PROTOCOLS

__all__ = ["PROTOCOLS"]
