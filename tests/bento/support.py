"""Asking the app directly, and what the tests' servers have in common."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from prometheus_client import REGISTRY

from bento.repository.models import Models
from bento.routes import build_app
from bento.server.connections import bounded
from bento.settings import Settings

ROOT = Path(__file__).resolve().parents[2]

# What is compared with the results in process: one grey level. By the reference engine alone, as in
# `loaded`: to compile and measure others takes most of a start.
FP32 = {"LATENTSERVE_PRECISION": "fp32", "LATENTSERVE_BACKEND": "onnxruntime"}

WAIT = 20.0
"""Seconds; only ever reached when something is broken."""

Ask = Callable[..., httpx.Response]


@contextmanager
def loaded(folder: Path) -> Iterator[Models]:
    """The models of a folder in fp32 by the reference engine, loaded without trials."""
    models = Models(
        Settings(artifacts=folder, backend="onnxruntime", precision="fp32", load_seconds=0)
    )
    models.load()
    try:
        yield models
    finally:
        models.close()


async def ask_async(
    models: Models,
    method: str,
    path: str,
    *,
    settings: dict[str, Any] | None = None,
    **request: Any,
) -> httpx.Response:
    app = build_app(Settings(**(settings or {})), models)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path, **request)


@contextmanager
def listening(models: Models, **settings: Any) -> Iterator[str]:
    """The app behind a real socket: what a broken transfer is, only a socket shows."""
    own = Settings(**settings)
    config = uvicorn.Config(
        build_app(own, models), http=bounded(own), lifespan="off", log_level="critical"
    )
    with on_loopback(config) as url:
        yield url


@contextmanager
def on_loopback(config: uvicorn.Config) -> Iterator[str]:
    """An app in a thread, on a free port."""
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(WAIT)


def wait_until(holds: Any) -> None:
    give_up = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def left(model: str) -> float:
    """Requests for samples of a model whose client went, or was cut, by this process's metrics."""
    labels = {"endpoint": "/sample", "model": model, "status": "499"}
    return REGISTRY.get_sample_value("latentserve_requests_total", labels) or 0.0


def until_closed(connection: socket.socket) -> bytes:
    """All that comes until the other side closes; what came so far where it resets."""
    parts: list[bytes] = []
    with suppress(ConnectionError):
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)
