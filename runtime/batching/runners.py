"""Runners: threads that take a batch, make its inputs, run the engine and deliver the rows.

The inputs of a large job are made slice by slice, while the other runners keep the engine busy.
"""

import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.batching.entries import Batch, Entry, Slice
from runtime.batching.queue import JobQueue
from runtime.engines.backend import Backend, Inputs, Tensors, arrays, normals_left
from runtime.errors import EngineError, LatentServeError, NotFiniteError, without_frames
from runtime.observer import SafeObserver, guarded
from runtime.sampling.streams import Draws


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
        self.serve(batch)
        self._queue.release(batch)
        return True

    def serve(self, batch: Batch) -> None:
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
        backend = self._solo if batch.solo else self._backend
        # Drawn here, so that the engine's time is the engine's alone.
        inputs = normals_left(inputs) if backend.draws else arrays(inputs)
        images = sum(piece.rows for piece in good)
        began = time.monotonic()
        outputs = self._engine(backend, batch.graph, inputs, images, _destination(good))
        ended = time.monotonic()
        self._observer.run(batch.graph, images, ended - began)
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
        self, backend: Backend, graph: str, inputs: Inputs, images: int, out: Tensors | None
    ) -> Tensors:
        try:
            outputs = backend.run(graph, inputs, out)  # pyright: ignore[reportArgumentType]
            for name, array in outputs.items():
                if len(array) != images:
                    raise EngineError(
                        f"{graph}: {name}: expected {images} rows, found {len(array)}"
                    )
        except Exception:
            self.failures += 1
            self._observer.failed(graph, images)
            raise
        self.failures = 0
        return outputs

    def _deliver(self, piece: Slice, outputs: Tensors) -> None:
        """Put a slice's outputs in their place; with the last of them the job is finished."""
        entry, job = piece.entry, piece.entry.job
        if piece.rows == job.count:
            # A view would hold the whole batch, or the engine's own memory.
            outputs = {n: a if a.base is None else a.copy() for n, a in outputs.items()}
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
        reason = "not finite" if isinstance(error, NotFiniteError) else "failed"
        if self._queue.settle(entry, rejected=reason):
            entry.future.set_exception(_as_engine_error(error, entry.job.graph))


def _destination(slices: list[Slice]) -> Tensors | None:
    """Where an engine may write its outputs itself: the place in its job's result of a batch that
    is one slice of it, once there is a result to write into."""
    outputs = slices[0].entry.outputs
    if len(slices) > 1 or outputs is None:
        return None
    return {name: array[slices[0].start : slices[0].stop] for name, array in outputs.items()}


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


def _as_engine_error(error: Exception, graph: str) -> Exception:
    if isinstance(error, LatentServeError):
        return without_frames(error)  # they hold the batch, and this future
    if isinstance(error, MemoryError):
        return EngineError(f"{graph}: not enough memory for all images at once: {error}")
    return EngineError(f"{graph} failed: {error}")
