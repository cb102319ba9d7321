"""All that the runtime knows of metrics: a few callbacks, called from its own threads."""

from typing import Protocol

from runtime.manifest import GraphName


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


class NullObserver:
    """Observes nothing."""

    def queued(self, graph: GraphName, images: int) -> None:
        pass

    def run(self, graph: GraphName, images: int, seconds: float) -> None:
        pass

    def rejected(self, graph: GraphName, images: int, reason: str) -> None:
        pass
