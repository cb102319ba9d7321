"""Runners: threads that take a batch, make its inputs, run the engine and deliver the rows.

The inputs of a large job are made slice by slice, while the other runners keep the engine busy.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from runtime.batching.entries import Batch, Entry, Slice
from runtime.batching.jobs import Job
from runtime.batching.queue import JobQueue
from runtime.engines.backend import Backend, Inputs, Tensors, arrays, normals_left
from runtime.errors import EngineError, LatentServeError, NotFiniteError, without_frames
from runtime.observer import SafeObserver, guarded
from runtime.sampling.streams import Draws

T = TypeVar("T")


class Runners:
    """`count` threads that serve a queue until it is closed and drained. `solo`: the engine of one
    image that has all cores."""

    def __init__(
        self,
        backend: Backend,
        queue: JobQueue,
        observer: SafeObserver,
        count: int,
        solo: Backend | None = None,
    ) -> None:
        self._backend = backend
        self._solo = solo or backend
        self._queue = queue
        self._observer = observer
        self.failures = 0
        """Engine runs that failed one after another, until now."""
        self._threads = [
            threading.Thread(target=self._serve, name=f"latentserve-runner-{i}", daemon=True)
            for i in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until they have ended."""
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        # A method of its own for each batch: an idle runner holds on to nobody's images.
        while self._serve_batch():
            pass

    def _serve_batch(self) -> bool:
        batch = self._queue.take()
        if batch is None:
            return False
        self._settle(batch)
        self._queue.release(batch)
        return True

    def make_one(self, job: Job[T], *, solo: bool) -> T:
        """The result of a job of one row, in its caller's thread: without an entry, whose future
        nobody else waits for."""
        arrived = time.monotonic()
        self._observer.taken(job.graph, 1, [0.0])
        try:
            inputs = job.rows(job.first, job.first + 1)
            outputs = self._engine(job.graph, inputs, 1, solo=solo, told=[(job, arrived)])
            return job.finish(_owned(outputs), job.first)
        except Exception as error:
            self._observer.rejected(job.graph, 1, _reason(error))
            raise _as_engine_error(error, job.graph) from None

    def _settle(self, batch: Batch) -> None:
        """Run a batch, and settle the futures of the jobs that it completes."""
        try:
            now = time.monotonic()
            waited = [now - piece.entry.arrived for piece in batch.slices if piece.start == 0]
            self._observer.taken(batch.graph, batch.images, waited)
            self._run(batch)
        except Exception as error:  # whatever it is, the runner lives on
            for piece in batch.slices:
                self._fail(piece.entry, error)

    def _run(self, batch: Batch) -> None:
        good: list[Slice] = []
        parts: list[Inputs] = []
        for piece in batch.slices:
            job = piece.entry.job
            try:
                parts.append(job.rows(job.first + piece.start, job.first + piece.stop))
                good.append(piece)
            except Exception as error:  # one bad member fails alone
                self._fail(piece.entry, error)
        if not good:
            return
        inputs = parts[0] if len(parts) == 1 else _concatenate(parts)
        images = sum(piece.rows for piece in good)
        told = [(p.entry.job, p.entry.arrived if p.start == 0 else None) for p in good]
        outputs = self._engine(
            batch.graph, inputs, images, _destination(good), solo=batch.solo, told=told
        )
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
        self,
        graph: str,
        inputs: Inputs,
        images: int,
        out: Tensors | None = None,
        *,
        solo: bool,
        told: Sequence[tuple[Job[Any], float | None]],
    ) -> Tensors:
        """The outputs of one run. `told`: the jobs in it, each with when it arrived if this is its
        first run."""
        backend = self._solo if solo else self._backend
        # Drawn here, so that the engine's time is the engine's alone.
        inputs = normals_left(inputs) if backend.draws else arrays(inputs)
        began = time.monotonic()
        try:
            outputs = backend.run(graph, inputs, out)
            for name, array in outputs.items():
                if len(array) != images:
                    raise EngineError(
                        f"{graph}: {name}: expected {images} rows, found {len(array)}"
                    )
        except Exception:
            self.failures += 1
            self._observer.failed(graph, images)
            raise
        ended = time.monotonic()
        self.failures = 0
        self._observer.run(graph, images, ended - began)
        for job, arrived in told:
            if job.timed is not None and arrived is not None:
                guarded(job.timed, "queue", arrived, began)
            if job.timed is not None:
                guarded(job.timed, "engine", began, ended)
        return outputs

    def _deliver(self, piece: Slice, outputs: Tensors) -> None:
        """Put a slice's outputs in their place; with the last of them the job is finished."""
        entry, job = piece.entry, piece.entry.job
        if piece.rows == job.count:
            outputs = _owned(outputs)
        else:
            place = self._queue.place(entry, outputs)
            for name, array in outputs.items():
                rows = place[name][piece.start : piece.stop]
                if not np.shares_memory(array, rows):  # or the engine wrote there itself
                    rows[...] = array
            if self._queue.add_done(entry, piece.rows):
                return
            outputs = place
        result = job.finish(outputs, job.first)
        if job.then is not None:
            self._queue.follow(entry, job.then(result, job.first))
        elif self._queue.settle(entry):
            entry.future.set_result(result)

    def _fail(self, entry: Entry, error: Exception) -> None:
        if self._queue.settle(entry, rejected=_reason(error)):
            entry.future.set_exception(_as_engine_error(error, entry.job.graph))


def _destination(slices: list[Slice]) -> Tensors | None:
    """Where an engine may write its outputs itself: the place in its job's result of a batch that
    is one slice of it, once there is a result to write into."""
    outputs = slices[0].entry.outputs
    if len(slices) > 1 or outputs is None:
        return None
    return {name: array[slices[0].start : slices[0].stop] for name, array in outputs.items()}


def _owned(outputs: Tensors) -> Tensors:
    """Arrays of their own: a view would hold the whole batch, or the engine's own memory."""
    return {n: a if a.base is None else a.copy() for n, a in outputs.items()}


def _concatenate(parts: list[Inputs]) -> Inputs:
    joined: dict[str, NDArray[Any] | Draws] = {}
    for name in parts[0]:
        rows = [part[name] for part in parts]
        draws = [each for each in rows if isinstance(each, Draws)]
        if len(draws) == len(rows):
            segments = tuple(segment for each in draws for segment in each.segments)
            joined[name] = replace(draws[0], segments=segments)
        else:
            joined[name] = np.concatenate([np.asarray(each) for each in rows])
    return joined


def _reason(error: Exception) -> str:
    """Why a job gets no result, as observers are told."""
    return "not finite" if isinstance(error, NotFiniteError) else "failed"


def _as_engine_error(error: Exception, graph: str) -> Exception:
    if isinstance(error, LatentServeError):
        return without_frames(error)  # they hold the batch, and this future
    if isinstance(error, MemoryError):
        return EngineError(f"{graph}: not enough memory for all images at once: {error}")
    return EngineError(f"{graph} failed: {error}")
