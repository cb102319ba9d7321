"""A tiny backend and observer that a test can hold, fail and inspect."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.engines.backend import Backend, Inputs, Tensors, arrays, into

WAIT = 20.0  # seconds; only ever reached when something is broken


def in_threads(client: Callable[[int], None], count: int) -> None:
    """`client(0)`, `client(1)`, ... at once, each in a thread of its own."""
    threads = [threading.Thread(target=client, args=(k,)) for k in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert not any(thread.is_alive() for thread in threads)


class FakeBackend:
    """Doubles its input, or runs `inner`. While `gate` is closed, runs after the first `free` ones
    wait inside the engine."""

    description = "fake"
    draws = False
    max_batch = None

    def __init__(self, inner: Backend | None = None, free: int = 0) -> None:
        self.inner = inner
        self.free = free
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.batches: list[list[float]] = []
        self.failures: list[Exception] = []

    def run(self, graph: str, inputs: Inputs, out: Tensors | None = None) -> Tensors:
        self.batches.append(next(iter(arrays(inputs).values())).reshape(-1, 1)[:, 0].tolist())
        self.entered.release()
        assert len(self.batches) <= self.free or self.gate.wait(WAIT)
        if self.failures:
            raise self.failures.pop(0)
        if self.inner:
            return self.inner.run(graph, inputs, out)
        return into(out, {"y": arrays(inputs)["x"] * 2})

    def close(self) -> None:
        pass


class ShortBackend(FakeBackend):
    """Always gives a single row, however many were asked for."""

    def run(
        self, graph: str, inputs: Inputs, out: Tensors | None = None
    ) -> dict[str, NDArray[Any]]:
        return {"y": np.zeros((1, 1), np.float32)}


class Recorder:
    """An observer that keeps what it is called with: the callback's name, images, and more."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self._added = threading.Condition()

    def of(self, callback: str) -> list[tuple[Any, ...]]:
        """What one callback was called with, in order."""
        return [event[1:] for event in self.events if event[0] == callback]

    def images_run(self) -> int:
        return sum(images for (images,) in self.of("run"))

    def wait_for(self, *event: Any) -> bool:
        """Whether this event was recorded, now or soon."""
        with self._added:
            return self._added.wait_for(lambda: event in self.events, WAIT)

    def _add(self, *event: Any) -> None:
        with self._added:
            self.events.append(event)
            self._added.notify_all()

    def queued(self, graph: str, images: int) -> None:
        self._add("queued", images)

    def taken(self, graph: str, images: int, waited: Sequence[float]) -> None:
        assert all(seconds >= 0 for seconds in waited)
        self._add("taken", images, len(waited))

    def failed(self, graph: str, images: int) -> None:
        self._add("failed", images)

    def run(self, graph: str, images: int, seconds: float) -> None:
        assert seconds >= 0
        self._add("run", images)

    def rejected(self, graph: str, images: int, reason: str) -> None:
        self._add("rejected", images, reason)
