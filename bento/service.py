"""The BentoML service: the app of `bento.routes`, over models that live as long as the process.

Of several workers (`LATENTSERVE_WORKERS`) each is such a process."""

import asyncio
import gc
import logging
import sys
from typing import Any

import bentoml
from starlette.types import ASGIApp

from bento.errors import JsonErrors
from bento.repository.models import Models
from bento.routes import build_app
from bento.server.connections import install
from bento.server.front import Front, guarded
from bento.server.supervision import (
    metrics_folder,
    prepare_supervisor,
    prepare_worker,
    refuse_to_start,
    this_worker,
    tidy_worker,
)
from bento.settings import LONGEST_SECONDS, read_settings, share
from bento.traffic.metrics import ModelObserver, forget_ended, metrics
from bento.traffic.tracing import find_tracer

logger = logging.getLogger(__name__)

try:
    settings = read_settings()
    prepare_supervisor(settings)
except ValueError as error:
    refuse_to_start(str(error))
workers = this_worker(settings)
own = share(settings)
models = Models(own, ModelObserver, workers.missing)
app = build_app(own, models, find_tracer)


def observe() -> None:
    """Bring this process's gauges up to date."""
    metrics().observe_models(models, len(models.failed), app.in_flight)


def observe_all() -> None:
    """Bring all gauges up to date, as far as it is for this process to do."""
    observe()
    folder = metrics_folder()
    if folder is not None:
        forget_ended(folder)


class FrontService(bentoml.Service[Any]):
    """BentoML's service, with our endpoints in front of its middleware, the API key in front of
    both, and CORS around everything."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        prepare_worker()
        install(own, workers.board.lose)
        front = Front(app, super().to_asgi(is_main), observe_all, workers.accept)
        return guarded(front, own, app.paths)


def _loaded() -> None:
    # What is there now stays: no collection need look at it again, and hold up every request.
    gc.collect()
    gc.freeze()
    workers.note_loaded()


@bentoml.service(
    name="latentserve",
    service_class=FrontService,
    workers=settings.workers,
    http={"host": "127.0.0.1", "port": 3000},  # pyright: ignore[reportArgumentType]
    # A backstop: the app's own limit, which follows the model's speed, answers first, and takes the
    # work out of the queue.
    traffic={"timeout": LONGEST_SECONDS + 5.0},
    logging={"access": {"enabled": False}},
)
class LatentServe:
    """Samples, decodes and encodes with every artifact of one folder."""

    def __init__(self) -> None:
        # BentoML's root logger says warnings only; what was loaded, and on which engine, is news.
        for ours in ("bento", "runtime"):
            logging.getLogger(ours).setLevel(logging.INFO)
        logger.info(
            "serving %s: API key %s, signatures %s",
            settings.artifacts.resolve(),
            "required" if settings.api_key else "not required",
            f"required, by a key in {settings.signed_by}" if settings.signed_by else "not required",
        )
        metrics()  # made before several threads ask for it at once
        # An engine thread that comes back needs Python for microseconds; by default it would wait
        # 5 ms for a busy event loop, as long as a whole batch of a small network.
        sys.setswitchinterval(0.0005)
        workers.keep(observe)
        models.start(_loaded)
        # BentoML opens its socket to requests once this returns.
        workers.join()

    async def __is_ready__(self) -> bool:
        return await models.missing() is None

    @bentoml.on_shutdown
    async def close(self) -> None:
        await asyncio.to_thread(models.close)
        tidy_worker()


LatentServe.add_asgi_middleware(JsonErrors)  # pyright: ignore[reportArgumentType]
