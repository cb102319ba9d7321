"""The queue: requests of any size become engine batches and come apart again.

A request is a `Job`: so many rows of one graph, produced on demand. One bounded queue holds the
jobs; runner threads take rows from its front, up to a batch, run the engine and hand each job its
rows. A job larger than a batch gives a slice and goes to the back, so it never starves small
ones, and its inputs are made slice by slice, while the other runners keep the engine busy.
Nothing waits for a batch to fill: batches form by themselves while the runners are busy.
Who finds the queue full stands in line, first come, first served.
"""

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.manifest import GraphName
from runtime.engines.backend import Backend, Inputs, Tensors, arrays
from runtime.errors import (
    DeadlineExceeded,
    EngineError,
    LatentServeError,
    NotFiniteError,
    OverloadedError,
)
from runtime.observer import Observer, SafeObserver, guarded
from runtime.sampling.streams import Draws

T = TypeVar("T")
Timed = Callable[[Literal["queue", "engine"], float, float], None]
"""Told of a job's stages, the wait for its first run and each run: when it began and ended, in
seconds of `time.monotonic`."""


@dataclass(frozen=True)
class Job(Generic[T]):
    """Work for the engine: `count` rows of `graph`.

    `rows(start, stop)` makes the graph's inputs for some of the rows, in a runner's thread;
    `finish(outputs)` turns the outputs of all rows into the result; `timed` follows it. Where the
    result depends on the rows' numbers, `finish_from(start)` is the `finish` of a part.
    """

    graph: GraphName
    count: int
    rows: Callable[[int, int], Inputs]
    finish: Callable[[Tensors], T]
    timed: Timed | None = None
    finish_from: Callable[[int], Callable[[Tensors], T]] | None = None

    def part(self, start: int, stop: int) -> "Job[T]":
        """The job of rows start..stop of this one."""

        def rows(first: int, last: int) -> Inputs:
            return self.rows(start + first, start + last)

        finish_from = self.finish_from
        if finish_from is None:
            return replace(self, count=stop - start, rows=rows)

        def finish_later(first: int) -> Callable[[Tensors], T]:
            return finish_from(start + first)

        return replace(
            self,
            count=stop - start,
            rows=rows,
            finish=finish_from(start),
            finish_from=finish_later,
        )


@dataclass(eq=False)
class _Entry:
    """A job in line or in the queue: rows before `taken` were given to runners, `done` of them are
    back."""

    job: Job[Any]
    future: Future[Any]
    seconds: float | None
    arrived: float = field(default_factory=time.monotonic)
    taken: int = 0
    done: int = 0
    outputs: dict[str, NDArray[Any]] | None = None
    in_line: bool = True
    settled: bool = False

    @property
    def remaining(self) -> int:
        return self.job.count - self.taken

    @property
    def expires(self) -> float | None:
        return None if self.seconds is None else self.arrived + self.seconds

    @property
    def is_late(self) -> bool:
        return self.expires is not None and time.monotonic() > self.expires

    @property
    def lateness(self) -> DeadlineExceeded:
        return DeadlineExceeded(self.seconds or 0.0)


@dataclass(frozen=True)
class _Slice:
    entry: _Entry
    start: int
    stop: int

    @property
    def rows(self) -> int:
        return self.stop - self.start


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
        self._observer = SafeObserver(observer)
        self._queue: deque[_Entry] = deque()
        self._line: deque[_Entry] = deque()
        self._cancelled: deque[_Entry] = deque()
        self._queued = 0
        self._running = 0
        self._failures = 0
        self._closed = False
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._threads = [
            threading.Thread(target=self._serve, name=f"latentserve-runner-{i}", daemon=True)
            for i in range(runners)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job[T], *, wait: bool = True, deadline: float | None = None) -> Future[T]:
        """Queue a job; its future can be cancelled until the last row is done.

        With `wait` the call blocks until the queue has room, otherwise a full queue raises
        OverloadedError. `deadline` is in seconds from now, and is looked at before each engine
        run: rows that no run has taken by then cost no more engine time, and the job fails with
        DeadlineExceeded. A run that has begun is finished.
        """
        entry = self._arrive(job, deadline)
        if entry.in_line:
            self._expire()  # dead work does not make the queue full
            self._await_room(entry, wait)
        return self._watched(entry)

    def enqueue(self, job: Job[T], *, deadline: float | None = None) -> Future[T]:
        """Like `submit`, but where the queue is full the job is left standing in line: the call
        neither blocks nor refuses. For callers who hold themselves to a few jobs at a time."""
        return self._watched(self._arrive(job, deadline))

    @property
    def queued(self) -> int:
        """Images waiting, a large job counted by its window."""
        return self._queued

    @property
    def oldest(self) -> float:
        """Seconds that the job which has waited longest for its first run has waited; 0 for
        none."""
        with self._lock:
            arrived = min((e.arrived for e in self._queue if not e.taken), default=None)
        return 0.0 if arrived is None else time.monotonic() - arrived

    @property
    def failures(self) -> int:
        """Engine runs that failed one after another, until now."""
        return self._failures

    def close(self) -> None:
        """Take no more jobs, finish those queued or in line, and end the runners."""
        with self._lock:
            self._closed = True
            self._work.notify_all()
        for thread in self._threads:
            thread.join()

    def _arrive(self, job: Job[Any], deadline: float | None) -> _Entry:
        """Join the line, and leave it at once for the queue where there is room."""
        entry = _Entry(job, Future(), deadline)
        with self._lock:
            if self._closed:
                raise EngineError("the model is closed: load it again")
            self._drop_cancelled()
            self._line.append(entry)
            self._admit()
        return entry

    def _watched(self, entry: _Entry) -> Future[Any]:
        # Weakly, or entry and future would hold each other, and the images, until a collection.
        watched = weakref.ref(entry)
        entry.future.add_done_callback(lambda future: self._note_cancelled(watched(), future))
        return entry.future

    def _await_room(self, entry: _Entry, wait: bool) -> None:
        with self._lock:
            while entry.in_line:
                if not wait:
                    self._leave(entry)
                    self._tell_rejected(entry, "overloaded")
                    raise OverloadedError(self._queued, self._limit)
                if entry.is_late:
                    self._leave(entry)
                    self._tell_rejected(entry, "deadline")
                    raise entry.lateness
                left = None if entry.expires is None else entry.expires - time.monotonic()
                self._room.wait(left)

    def _admit(self) -> None:
        """Let in from the line whoever fits, in order. Under the lock."""
        while self._line:
            entry = self._line[0]
            weight = self._weight(entry.job.count)
            if self._queued + weight > self._limit:
                break
            self._line.popleft()
            entry.in_line = False
            self._queue.append(entry)
            self._queued += weight
            self._observer.queued(entry.job.graph, entry.job.count)
            self._work.notify()
            self._room.notify_all()

    def _weight(self, rows: int) -> int:
        return min(rows, self._window)

    def _serve(self) -> None:
        # A method of its own for each batch: an idle runner holds on to nobody's images.
        while self._serve_batch():
            pass

    def _serve_batch(self) -> bool:
        batch = self._next_batch()
        images = sum(piece.rows for piece in batch)
        try:
            if batch:
                now = time.monotonic()
                waited = [now - p.entry.arrived for p in batch if p.start == 0]
                self._observer.taken(batch[0].entry.job.graph, images, waited)
                self._run(batch)
        except Exception as error:  # whatever it is, the runner lives on
            for piece in batch:
                self._fail(piece.entry, error)
        with self._lock:
            self._running -= images
        return bool(batch)

    def _next_batch(self) -> list[_Slice]:
        """Wait for work and take a batch of one graph; empty once closed and drained."""
        while True:
            self._expire()
            with self._lock:
                self._drop_cancelled()
                batch = self._take()
                drained = self._closed and not self._queue
                if not batch and not drained:
                    self._work.wait()
                if batch and self._queue:
                    self._work.notify()
            if batch or drained:
                return batch

    def _take(self) -> list[_Slice]:
        batch: list[_Slice] = []
        others: list[_Entry] = []
        room = 0
        while self._queue and (room > 0 or not batch):
            entry = self._queue.popleft()
            if batch and entry.job.graph != batch[0].entry.job.graph:
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
        self._running += sum(piece.rows for piece in batch)
        self._admit()
        return batch

    def _share(self, first: _Entry) -> int:
        if self._backend.max_batch is not None:
            return self._max_batch  # engines of fixed batch sizes: halves cost as much as the whole
        # What waits and what runs, split evenly: one request of 64 keeps two cores busy, and
        # nobody stands behind a batch that took all there was while another was about to end.
        runners = len(self._threads)
        there = first.remaining + self._running
        for entry in self._queue:
            if there >= runners * self._max_batch:
                break
            if entry.job.graph == first.job.graph:
                there += entry.remaining
        return min(self._max_batch, -(-there // runners))

    def _expire(self) -> None:
        """Fail what is past its deadline."""
        with self._lock:
            late = [entry for entry in (*self._queue, *self._line) if entry.is_late]
        for entry in late:
            self._fail(entry, entry.lateness)

    def _note_cancelled(self, entry: _Entry | None, future: Future[Any]) -> None:
        """Take a cancelled job out there and then, if the lock is free, and soon otherwise.

        Never waits for the lock: a forgotten stream is cancelled by the garbage collector, which
        may run in the very thread that holds it.
        """
        if entry is not None and future.cancelled():
            self._cancelled.append(entry)
            if self._lock.acquire(blocking=False):
                try:
                    self._drop_cancelled()
                finally:
                    self._lock.release()

    def _drop_cancelled(self) -> None:
        """Under the lock."""
        while self._cancelled:
            entry = self._cancelled.popleft()
            self._leave(entry)
            if not entry.settled:
                entry.settled = True
                self._tell_rejected(entry, "cancelled")
                entry.future.set_running_or_notify_cancel()

    def _leave(self, entry: _Entry) -> None:
        """Take an entry out of the line, or its remaining rows out of the queue. Under the lock."""
        if entry.in_line:
            self._line.remove(entry)
            entry.in_line = False
            self._room.notify_all()
        elif entry in self._queue:
            self._queue.remove(entry)
            self._queued -= self._weight(entry.remaining)
        else:
            return
        self._admit()

    def _run(self, batch: list[_Slice]) -> None:
        graph = batch[0].entry.job.graph
        good: list[_Slice] = []
        parts: list[Inputs] = []
        for piece in batch:
            try:
                rows = piece.entry.job.rows(piece.start, piece.stop)
                parts.append(rows if self._backend.draws else arrays(rows))
                good.append(piece)
            except Exception as error:  # one bad member fails alone
                self._fail(piece.entry, error)
        if not good:
            return
        inputs = parts[0] if len(parts) == 1 else _concatenate(parts)
        images = sum(piece.rows for piece in good)
        began = time.monotonic()
        outputs = self._engine(graph, inputs, images, _destination(good))
        ended = time.monotonic()
        self._observer.run(graph, images, ended - began)
        for piece in good:
            timed = piece.entry.job.timed
            if timed is not None and piece.start == 0:
                guarded(timed, "queue", piece.entry.arrived, began)
            if timed is not None:
                guarded(timed, "engine", began, ended)
        row = 0
        for piece in good:
            part = slice(row, row + piece.rows)
            row += piece.rows
            whole = len(good) == 1
            try:
                self._deliver(
                    piece, outputs if whole else {name: a[part] for name, a in outputs.items()}
                )
            except Exception as error:
                self._fail(piece.entry, error)

    def _engine(
        self, graph: GraphName, inputs: Inputs, images: int, out: Tensors | None
    ) -> Tensors:
        try:
            outputs = self._backend.run(graph, inputs, out)
            for name, array in outputs.items():
                if len(array) != images:
                    raise EngineError(
                        f"{graph}: {name}: expected {images} rows, found {len(array)}"
                    )
        except Exception:
            self._failures += 1
            self._observer.failed(graph, images)
            raise
        self._failures = 0
        return outputs

    def _deliver(self, piece: _Slice, outputs: Tensors) -> None:
        entry, count = piece.entry, piece.entry.job.count
        if piece.rows == count and all(array.base is None for array in outputs.values()):
            entry.outputs = dict(outputs)  # all of it, and nobody else's
        with self._lock:
            if entry.outputs is None:
                entry.outputs = {
                    name: np.empty((count, *a.shape[1:]), a.dtype) for name, a in outputs.items()
                }
        for name, array in outputs.items():
            place = entry.outputs[name][piece.start : piece.stop]
            if not np.shares_memory(array, place):  # or the engine wrote there itself
                place[...] = array
        with self._lock:
            entry.done += piece.rows
            if entry.done < count:
                return
        result = entry.job.finish(entry.outputs)
        if self._settles(entry):
            entry.future.set_result(result)

    def _tell_rejected(self, entry: _Entry, reason: str) -> None:
        self._observer.rejected(entry.job.graph, entry.job.count, reason)

    def _fail(self, entry: _Entry, error: Exception) -> None:
        with self._lock:
            self._leave(entry)
        if self._settles(entry):
            self._tell_rejected(entry, _reason(error))
            entry.future.set_exception(_as_engine_error(error, entry.job.graph))

    def _settles(self, entry: _Entry) -> bool:
        """Whether the caller is the one to settle this future: not cancelled, not yet settled by
        another slice of the same job."""
        with self._lock:
            if entry.settled:
                return False
            entry.settled = True
        return entry.future.set_running_or_notify_cancel()


def _destination(pieces: list[_Slice]) -> Tensors | None:
    """Where an engine may write its outputs itself: the place in its job's result of a batch that
    is one slice of it, once there is a result to write into."""
    outputs = pieces[0].entry.outputs
    if len(pieces) > 1 or outputs is None:
        return None
    return {name: array[pieces[0].start : pieces[0].stop] for name, array in outputs.items()}


def _concatenate(parts: list[Inputs]) -> Inputs:
    joined: dict[str, NDArray[Any] | Draws] = {}
    for name in parts[0]:
        rows = [part[name] for part in parts]
        draws = [each for each in rows if isinstance(each, Draws)]
        if len(draws) == len(rows):
            joined[name] = Draws(draws[0].shape, tuple(s for each in draws for s in each.segments))
        else:
            joined[name] = np.concatenate([np.asarray(each) for each in rows])
    return joined


def _reason(error: Exception) -> str:
    """What observers are told of a job that failed so."""
    if isinstance(error, DeadlineExceeded):
        return "deadline"
    return "not finite" if isinstance(error, NotFiniteError) else "failed"


def _as_engine_error(error: Exception, graph: GraphName) -> Exception:
    if isinstance(error, LatentServeError):
        # Its traceback holds frames that hold the batch: it would keep images, and the engine.
        return error.with_traceback(None)
    if isinstance(error, MemoryError):
        return EngineError(f"{graph}: not enough memory for all images at once: {error}")
    return EngineError(f"{graph} failed: {error}")
