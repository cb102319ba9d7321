"""All that the runtime knows of metrics: a few callbacks, called from its own threads."""

import logging
from collections.abc import Callable
from typing import Protocol

from runtime.manifest import GraphName

logger = logging.getLogger(__name__)


class Observer(Protocol):
    """Told what happens to the work of one model. Must be thread-safe, quick, and not raise."""

    def queued(self, graph: GraphName, images: int) -> None:
        """A request of so many images entered the queue."""
        ...

    def run(self, graph: GraphName, images: int, seconds: float) -> None:
        """The engine finished a batch."""
        ...

    def rejected(self, graph: GraphName, images: int, reason: str) -> None:
        """Images left the queue unserved: "overloaded", "cancelled", "deadline" or "failed"."""
        ...


class SafeObserver:
    """Passes on to an observer, or to none; what it raises is logged and goes no further."""

    def __init__(self, observer: Observer | None) -> None:
        self._observer = observer

    def queued(self, graph: GraphName, images: int) -> None:
        if self._observer is not None:
            _guarded(self._observer.queued, graph, images)

    def run(self, graph: GraphName, images: int, seconds: float) -> None:
        if self._observer is not None:
            _guarded(self._observer.run, graph, images, seconds)

    def rejected(self, graph: GraphName, images: int, reason: str) -> None:
        if self._observer is not None:
            _guarded(self._observer.rejected, graph, images, reason)


def _guarded(callback: Callable[..., None], *arguments: object) -> None:
    try:
        callback(*arguments)
    except Exception:
        logger.exception("an observer failed in %s%r", callback, arguments)
