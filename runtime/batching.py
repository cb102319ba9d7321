"""The queue: requests of any size become engine batches and come apart again.

A request is a `Job`: so many rows of one graph, produced on demand. One bounded queue holds the
jobs; runner threads take rows from its front, up to a batch, run the engine and hand each job its
rows. A job larger than a batch gives a slice and goes to the back, so it never starves small
ones, and its inputs are made slice by slice, while the other runners keep the engine busy.
Nothing waits for a batch to fill: batches form by themselves while the runners are busy.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from runtime.backends import Backend, Tensors
from runtime.errors import DeadlineExceeded, EngineError, LatentServeError, OverloadedError
from runtime.manifest import GraphName
from runtime.observer import NullObserver, Observer

T = TypeVar("T")


@dataclass(frozen=True)
class Job(Generic[T]):
    """Work for the engine: `count` rows of `graph`.

    `rows(start, stop)` makes the graph's inputs for some of the rows, in a runner's thread;
    `finish(outputs)` turns the outputs of all rows into the result.
    """

    graph: GraphName
    count: int
    rows: Callable[[int, int], Tensors]
    finish: Callable[[Tensors], T]


@dataclass(eq=False)
class _Entry:
    """A job in the queue: rows before `taken` were given to runners, `done` of them are back."""

    job: Job[Any]
    future: Future[Any]
    seconds: float | None
    expires: float | None
    taken: int = 0
    done: int = 0
    outputs: dict[str, NDArray[Any]] | None = None
    settled: bool = False

    @property
    def remaining(self) -> int:
        return self.job.count - self.taken


@dataclass(frozen=True)
class _Slice:
    entry: _Entry
    start: int
    stop: int


class Batcher:
    """One bounded queue in front of one backend, served by `runners` threads."""

    def __init__(
        self,
        backend: Backend,
        *,
        max_batch: int,
        queue_images: int,
        runners: int,
        observer: Observer | None = None,
    ) -> None:
        self._backend = backend
        self._max_batch = max_batch
        self._limit = queue_images
        # One job counts for at most this much of the queue, so a huge one leaves room for others.
        self._window = min(queue_images, 4 * max_batch)
        self._observer = observer or NullObserver()
        self._queue: deque[_Entry] = deque()
        self._queued = 0
        self._idle = 0
        self._closed = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._serve, name=f"latentserve-runner-{i}", daemon=True)
            for i in range(runners)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job[T], *, wait: bool = True, deadline: float | None = None) -> Future[T]:
        """Queue a job; its future can be cancelled until the last row is done.

        With `wait` the call blocks until the queue has room, otherwise a full queue raises
        OverloadedError. `deadline` is in seconds from now: a job not begun or not finished by
        then fails with DeadlineExceeded before it costs more engine time.
        """
        expires = None if deadline is None else time.monotonic() + deadline
        entry = _Entry(job, Future(), deadline, expires)
        weight = self._weight(job.count)
        with self._changed:
            while self._queued + weight > self._limit and not self._closed:
                if not wait:
                    self._observer.rejected(job.graph, job.count, "overloaded")
                    raise OverloadedError(self._queued, self._limit)
                self._changed.wait()
            if self._closed:
                raise EngineError("the model is closed: load it again")
            self._queue.append(entry)
            self._queued += weight
            self._changed.notify()
        self._observer.queued(job.graph, job.count)
        return entry.future

    @property
    def queued(self) -> int:
        """Images waiting, a large job counted by its window."""
        return self._queued

    def close(self) -> None:
        """Take no more jobs, finish those queued, and end the runners."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _weight(self, rows: int) -> int:
        return min(rows, self._window)

    def _serve(self) -> None:
        while True:
            batch = self._next_batch()
            if not batch:
                return
            self._run(batch)

    def _next_batch(self) -> list[_Slice]:
        """Wait for work and take a batch of one graph; empty once closed and drained."""
        with self._changed:
            self._idle += 1
            try:
                while True:
                    batch = self._take()
                    if batch or (self._closed and not self._queue):
                        self._changed.notify_all()
                        return batch
                    self._changed.wait()
            finally:
                self._idle -= 1

    def _take(self) -> list[_Slice]:
        batch: list[_Slice] = []
        others: list[_Entry] = []
        room = 0
        while self._queue and (room > 0 or not batch):
            entry = self._queue.popleft()
            if self._is_abandoned(entry):
                continue
            graph = batch[0].entry.job.graph if batch else entry.job.graph
            if entry.job.graph != graph:
                others.append(entry)
                continue
            if not batch:
                room = self._share(entry)
            rows = min(room, entry.remaining)
            before = self._weight(entry.remaining)
            batch.append(_Slice(entry, entry.taken, entry.taken + rows))
            entry.taken += rows
            room -= rows
            self._queued -= before - self._weight(entry.remaining)
            if entry.remaining:
                self._queue.append(entry)
        self._queue.extendleft(reversed(others))
        return batch

    def _share(self, first: _Entry) -> int:
        # Idle runners split what is there, so that one request of 64 keeps two cores busy.
        enough = self._idle * self._max_batch
        waiting = first.remaining
        for entry in self._queue:
            if waiting >= enough:
                break
            if entry.job.graph == first.job.graph:
                waiting += entry.remaining
        return min(self._max_batch, -(-waiting // self._idle))

    def _is_abandoned(self, entry: _Entry) -> bool:
        """Whether an entry just taken from the queue is to be dropped; settles its future."""
        if entry.future.cancelled():
            reason = "cancelled"
        elif entry.settled:
            reason = "failed"
        elif entry.expires is not None and time.monotonic() > entry.expires:
            reason = "deadline"
            self._fail(entry, DeadlineExceeded(entry.seconds or 0.0))
        else:
            return False
        self._queued -= self._weight(entry.remaining)
        self._observer.rejected(entry.job.graph, entry.remaining, reason)
        return True

    def _run(self, batch: list[_Slice]) -> None:
        graph = batch[0].entry.job.graph
        good: list[_Slice] = []
        parts: list[Tensors] = []
        for piece in batch:
            try:
                parts.append(piece.entry.job.rows(piece.start, piece.stop))
                good.append(piece)
            except Exception as error:  # one bad member fails alone
                self._fail(piece.entry, error)
        if not good:
            return
        inputs = parts[0] if len(parts) == 1 else _concatenate(parts)
        images = sum(piece.stop - piece.start for piece in good)
        began = time.perf_counter()
        try:
            outputs = self._backend.run(graph, inputs)
        except Exception as error:
            known = isinstance(error, LatentServeError)
            failure = error if known else EngineError(f"{graph} failed: {error}")
            for piece in good:
                self._fail(piece.entry, failure)
            return
        self._observer.run(graph, images, time.perf_counter() - began)
        row = 0
        for piece in good:
            rows = piece.stop - piece.start
            self._deliver(piece, {name: a[row : row + rows] for name, a in outputs.items()})
            row += rows

    def _deliver(self, piece: _Slice, outputs: Tensors) -> None:
        entry, count = piece.entry, piece.entry.job.count
        with self._changed:
            if entry.outputs is None:
                entry.outputs = {
                    name: np.empty((count, *a.shape[1:]), a.dtype) for name, a in outputs.items()
                }
        for name, array in outputs.items():
            entry.outputs[name][piece.start : piece.stop] = array
        with self._changed:
            entry.done += piece.stop - piece.start
            if entry.done < count:
                return
        try:
            result = entry.job.finish(entry.outputs)
        except Exception as error:
            self._fail(entry, error)
            return
        if self._settles(entry):
            entry.future.set_result(result)

    def _fail(self, entry: _Entry, error: Exception) -> None:
        if self._settles(entry):
            entry.future.set_exception(error)

    def _settles(self, entry: _Entry) -> bool:
        """Whether the caller is the one to settle this future: not cancelled, not yet settled by
        another slice of the same job."""
        with self._changed:
            if entry.settled:
                return False
            entry.settled = True
        return entry.future.set_running_or_notify_cancel()


def _concatenate(parts: list[Tensors]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
