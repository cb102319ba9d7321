"""The HTTP server in front of an ASGI app: uvicorn, as ours has it, or granian, which is compiled.

PEER_HTTP chooses; granian is no requirement of ours: install it to compare.
"""

import importlib
import os
from typing import Any

import uvicorn
import uvloop

from benchmarks.speed.servers import GRANIAN


def serve(app: Any, port: int) -> None:
    """Serve on 127.0.0.1 until the process is ended: one process, one event loop (uvloop)."""
    if os.environ.get("PEER_HTTP") == GRANIAN:
        embed: Any = importlib.import_module("granian.server.embed")
        constants: Any = importlib.import_module("granian.constants")
        server = embed.Server(
            app, address="127.0.0.1", port=port, interface=constants.Interfaces.ASGINL
        )
        uvloop.run(server.serve())
        return
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        log_level="warning",
    )
