"""An app that does nothing: what HTTP itself costs in Python. Every request gets the same PNG.

`python -m benchmarks.peers.empty PORT`
"""

import sys
from typing import Any

import numpy as np

from benchmarks.peers.transport import serve
from runtime.images.encoding import encode_image

_PNG = encode_image(np.random.default_rng(0).integers(0, 256, (16, 16, 1), dtype=np.uint8))
_HEADERS = [(b"content-type", b"image/png"), (b"content-length", str(len(_PNG)).encode())]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """ASGI. The server reads the body, which is not looked at."""
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _PNG})


if __name__ == "__main__":
    serve(app, int(sys.argv[1]))
