"""A process that serves: its models, and the app over them. The supervisor, which imports the
service too, needs none of this."""

import gc
import logging
import sys

from starlette.types import ASGIApp

from bento.repository.models import Models
from bento.server.connections import install
from bento.server.front import Front, guarded
from bento.server.supervision import metrics_folder, prepare_worker, this_worker
from bento.settings import Settings, share
from bento.traffic.metrics import ModelObserver, forget_ended, metrics
from bento.traffic.tracing import find_tracer

logger = logging.getLogger(__name__)


class Process:
    """One process, with its share of the service's settings, over models that live as long as it:
    it begins to load them at once.

    Of several workers (`LATENTSERVE_WORKERS`) each is one.
    """

    def __init__(self, settings: Settings) -> None:
        self.workers = this_worker(settings)
        self.settings = share(settings)
        self.models = Models(self.settings, ModelObserver, self.workers.missing)
        self._start()
        from bento.routes import build_app  # not earlier: it takes long, and models load beside it

        self.app = build_app(self.settings, self.models, find_tracer)
        self.workers.keep(self._observe)

    def asgi(self, theirs: ASGIApp) -> ASGIApp:
        """Our endpoints in front of BentoML's app and its middleware, the API key in front of both,
        and CORS around everything."""
        prepare_worker()
        install(self.settings, self.workers.board.lose)
        front = Front(self.app, theirs, self._observe_all, self.workers.accept)
        return guarded(front, self.settings, self.app.paths)

    def close(self) -> None:
        """Finish what has begun, and release the engines."""
        self.models.close()

    def _start(self) -> None:
        """Load the models, in the background."""
        # BentoML's root logger says warnings only; what was loaded, and on which engine, is news.
        for ours in ("bento", "runtime"):
            logging.getLogger(ours).setLevel(logging.INFO)
        settings = self.settings
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
        self.models.start(self._loaded)

    def _loaded(self) -> None:
        # What is there now stays: no collection need look at it again, and hold up every request.
        gc.collect()
        gc.freeze()
        self.workers.note_loaded()

    def _observe(self) -> None:
        """Bring this process's gauges up to date."""
        metrics().observe_models(self.models, len(self.models.failed), self.app.in_flight)

    def _observe_all(self) -> None:
        """Bring all gauges up to date, as far as it is for this process to do."""
        self._observe()
        folder = metrics_folder()
        if folder is not None:
            forget_ended(folder)
