"""The interface for metrics: a few callbacks, called from the runtime's threads."""

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

logger = logging.getLogger(__name__)


class Observer(Protocol):
    """Receives the events of one model. Must be thread-safe, quick, and not raise."""

    def queued(self, graph: str, images: int) -> None:
        """A request of so many images entered the queue."""
        ...

    def taken(self, graph: str, images: int, waited: Sequence[float]) -> None:
        """A batch of so many images was formed; the requests whose first images are in it had
        waited so many seconds."""
        ...

    def run(self, graph: str, images: int, seconds: float) -> None:
        """The engine finished a batch."""
        ...

    def failed(self, graph: str, images: int) -> None:
        """The engine failed in a batch."""
        ...

    def rejected(self, graph: str, images: int, reason: str) -> None:
        """A request of so many images gets no result: "overloaded", "cancelled", "failed",
        or "not finite" where its outputs were not."""
        ...


class SafeObserver:
    """Passes on to an observer, or to none; what it raises is logged and goes no further."""

    def __init__(self, observer: Observer | None) -> None:
        self._observer = observer

    def queued(self, graph: str, images: int) -> None:
        if self._observer is not None:
            guarded(self._observer.queued, graph, images)

    def taken(self, graph: str, images: int, waited: Sequence[float]) -> None:
        if self._observer is not None:
            guarded(self._observer.taken, graph, images, waited)

    def run(self, graph: str, images: int, seconds: float) -> None:
        if self._observer is not None:
            guarded(self._observer.run, graph, images, seconds)

    def failed(self, graph: str, images: int) -> None:
        if self._observer is not None:
            guarded(self._observer.failed, graph, images)

    def rejected(self, graph: str, images: int, reason: str) -> None:
        if self._observer is not None:
            guarded(self._observer.rejected, graph, images, reason)


def guarded(callback: Callable[..., None], *arguments: object) -> None:
    """Call it; what it raises is logged and goes no further."""
    try:
        callback(*arguments)
    except Exception:
        logger.exception("an observer failed in %s%r", callback, arguments)
