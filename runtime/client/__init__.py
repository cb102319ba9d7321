"""A client of the HTTP service: arrays in, arrays out; `Client`, and `AsyncClient` for asyncio.

    from runtime.client import Client

    with Client("http://127.0.0.1:3000") as client:
        images = client.sample("mnist-vae", 64, seed=7)  # uint8 [64, 28, 28, 1]

It needs the extra `client` (httpx).
"""

from runtime.client.clients import AsyncClient, Client

__all__ = ["AsyncClient", "Client"]
