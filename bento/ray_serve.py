"""Ray Serve in BentoML's place: `serve run bento.ray_serve:app`.

A replica is one process with all models, as `bentoml serve` starts one; Ray sends it requests and
starts more of them, one a machine, since each takes all cores that it may use. The settings are
those of every node's environment.

Ray's proxies answer in front of a replica: `/-/healthz` instead of `/livez`, no `/metrics`, and
their limits on connections and heads of requests instead of ours.
"""

import asyncio
import threading
from functools import cache
from importlib import import_module
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from bento.repository.models import Models
from bento.routes import build_app
from bento.server.front import guarded
from bento.settings import Settings, read_settings
from bento.traffic.metrics import ModelObserver, metrics

serve: Any = import_module("ray.serve")  # of the extra `ray`, without which nobody needs this


@cache
def _loaded() -> tuple[Settings, Models]:
    """The models of this process, once all artifacts have been tried."""
    settings = read_settings()
    metrics()  # made before several threads ask for it at once
    models, tried = Models(settings, ModelObserver), threading.Event()
    models.start(tried.set)
    tried.wait()
    return settings, models


def _app() -> ASGIApp:
    """The application of a replica."""
    settings, models = _loaded()
    ours = build_app(settings, models)
    front = guarded(ours, settings, ours.paths)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await front(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.to_thread(models.close)
        await send({"type": "lifespan.shutdown.complete"})

    return app


class Replica:
    """What Ray asks besides requests."""

    async def check_health(self) -> None:
        """Raises where nothing is served, or an engine fails: Ray starts another replica."""
        _, models = _loaded()
        missing = await models.missing()
        if missing is not None:
            raise RuntimeError(f"not ready: {missing}")


deployment: Any = serve.deployment(
    name="latentserve",
    max_replicas_per_node=1,
    # The queue of each model refuses what is too much; Ray alone would let five requests in.
    max_ongoing_requests=Settings.model_fields["max_requests"].default,
    ray_actor_options={"num_cpus": 1},
)(serve.ingress(_app)(Replica))
app: Any = deployment.bind()
