"""Our runtime behind nothing but an HTTP server: what the transport alone costs.

No validation, no errors, no metrics: a ceiling for the service, not a way to serve. The engine is
set by the service's variables, LATENTSERVE_BACKEND and LATENTSERVE_PRECISION, the artifact by
PEER_ARTIFACT.

`python -m benchmarks.peers.bare PORT`
"""

import asyncio
import json
import os
import sys
from typing import Any

import runtime
from benchmarks.peers.transport import serve
from runtime.images.encoding import encode_image, encode_npy


class App:
    """ASGI: /readyz, and /sample as PNG (n = 1) or npy."""

    def __init__(self, model: runtime.Model) -> None:
        self.model = model

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/readyz":
            await _reply(send, b"text/plain", b"ready")
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        request = json.loads(body)
        future = self.model.submit(runtime.Sample(request["n"], request["seed"]), wait=False)
        images = await asyncio.wrap_future(future)
        if request.get("format") == "npy":
            await _reply(send, b"application/x-npy", encode_npy(images))
        else:
            await _reply(send, b"image/png", encode_image(images[0]))


async def _reply(send: Any, media_type: bytes, body: bytes) -> None:
    length = str(len(body)).encode()
    headers = [(b"content-type", media_type), (b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main(port: int) -> None:
    model = runtime.load(
        os.environ["PEER_ARTIFACT"],
        backend=os.environ.get("LATENTSERVE_BACKEND", "auto"),
        precision=os.environ.get("LATENTSERVE_PRECISION", "auto"),  # pyright: ignore[reportArgumentType]
    )
    with model:
        model.warm()
        serve(App(model), port)


if __name__ == "__main__":
    main(int(sys.argv[1]))
