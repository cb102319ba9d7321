"""The BentoML service. BentoML's supervisor imports it, and so does each worker
(`LATENTSERVE_WORKERS`), which makes a `bento.process.Process` of it."""

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any

import bentoml
from starlette.types import ASGIApp

from bento.errors import JsonErrors
from bento.server.supervision import is_worker, prepare_supervisor, refuse_to_start, tidy_worker
from bento.settings import LONGEST_SECONDS, read_settings
from runtime.machine import to_install

if TYPE_CHECKING:
    from bento.process import Process

try:
    settings = read_settings()
    prepare_supervisor(settings)
except ValueError as error:
    refuse_to_start(str(error))


@cache
def process() -> "Process":
    """What this process serves with."""
    # Not earlier: workers are not started before the supervisor has imported this module.
    try:
        from bento.process import Process

        return Process(settings)
    except ImportError as error:  # BentoML would start the worker again for ever
        refuse_to_start(f"{error}: {to_install('serve')}")


class FrontService(bentoml.Service[Any]):
    """BentoML's service, behind our endpoints."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        return process().asgi(super().to_asgi(is_main))


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
        # BentoML serves once this returns.
        process().workers.join()

    async def __is_ready__(self) -> bool:
        return await process().models.missing() is None

    @bentoml.on_shutdown
    async def close(self) -> None:
        await asyncio.to_thread(process().close)
        tidy_worker()


LatentServe.add_asgi_middleware(JsonErrors)  # pyright: ignore[reportArgumentType]

if is_worker():
    process()  # the models are loaded while BentoML imports the rest of its own
