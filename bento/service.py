"""The BentoML service: the app of `bento.routes`, over models that live as long as the process."""

import asyncio
import gc
import logging
import sys
from typing import Any

import bentoml
from starlette.types import ASGIApp

from bento.errors import JsonErrors
from bento.front import Front
from bento.models import Models
from bento.routes import build_app
from bento.settings import read_settings

settings = read_settings()
models = Models(settings)
app = build_app(settings, models)


class FrontService(bentoml.Service[Any]):
    """BentoML's service, with our endpoints in front of its middleware."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        return Front(app, super().to_asgi(is_main))


@bentoml.service(
    name="latentserve",
    service_class=bentoml.Service if settings.bentoml_middleware else FrontService,
    workers=1,
    http={"host": "127.0.0.1", "port": 3000},  # pyright: ignore[reportArgumentType]
    # A backstop: the app's own limit answers first, and takes the work out of the queue.
    traffic={"timeout": settings.timeout_seconds + 5.0},
    logging={"access": {"enabled": settings.bentoml_middleware}},
)
@bentoml.asgi_app(app)
class LatentServe:
    """Samples, decodes and encodes with every artifact of one folder."""

    def __init__(self) -> None:
        # BentoML's root logger says warnings only; what was loaded, and on which engine, is news.
        for ours in ("bento", "runtime"):
            logging.getLogger(ours).setLevel(logging.INFO)
        # BentoML opens its socket to requests only after this returns.
        models.load()
        # An engine thread that comes back needs Python for microseconds; by default it would wait
        # 5 ms for a busy event loop, as long as a whole batch of a small network.
        sys.setswitchinterval(0.0005)
        # What is there now stays: no collection need look at it again, and hold up every request.
        gc.collect()
        gc.freeze()

    async def __is_ready__(self) -> bool:
        return len(models) > 0

    @bentoml.on_shutdown
    async def close(self) -> None:
        await asyncio.to_thread(models.close)


LatentServe.add_asgi_middleware(JsonErrors)  # pyright: ignore[reportArgumentType]
