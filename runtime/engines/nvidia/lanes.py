"""Lanes: what one run at a time needs on a GPU, so that several runs overlap.

An engine runs batches of fixed sizes, its buckets. A lane owns a stream and, for every bucket,
page-locked host buffers, device buffers and a recorded CUDA graph of the whole way: latents in,
engine, bytes out. While one lane's images are copied out, another lane's are computed.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.tensors import GraphSpec
from runtime.engines.backend import Inputs, Tensors
from runtime.engines.nvidia.cuda import Cuda
from runtime.engines.nvidia.slots import Execution, Slot
from runtime.errors import OutOfDeviceMemoryError

logger = logging.getLogger(__name__)

# What a run costs beside its rows, in rows: below this, padding is cheaper than another run.
_RUN_COST = 64


class Engine(Protocol):
    """One graph, ready to run on one device."""

    @property
    def spec(self) -> GraphSpec: ...

    @property
    def buckets(self) -> Sequence[int]:
        """Batch sizes, ascending."""
        ...

    def execution(self, bucket: int, stream: int) -> Execution: ...

    def close(self) -> None: ...


class Lane:
    """A stream of one device with the buffers of every bucket up to `largest`; with a `kernel` it
    draws latents itself (`drawing`)."""

    def __init__(
        self,
        cuda: Cuda,
        stream: int,
        engines: Mapping[str, Engine],
        largest: int,
        kernel: int | None = None,
    ) -> None:
        self.memory = 0
        """Bytes of device memory that it holds, the engines' weights not among them."""
        self._cuda, self._stream = cuda, stream
        with ExitStack() as opened:  # what was allocated is given back where the rest does not fit
            executions: dict[tuple[str, int], Execution] = {
                (graph, bucket): engine.execution(bucket, stream)
                for graph, engine in engines.items()
                for bucket in engine.buckets
                if bucket <= largest
            }
            # One run at a time: all of them write in the same place.
            size = max(execution.scratch for execution in executions.values())
            scratch = self._allocate(size, opened)
            self._slots: dict[str, dict[int, Slot]] = {graph: {} for graph in engines}
            for (graph, bucket), execution in executions.items():
                spec = engines[graph].spec
                slot = Slot(cuda, stream, self._allocate, opened, spec, bucket)
                opened.callback(slot.close)
                slot.prepare(execution, scratch)
                if kernel is not None and any(t.name == "latents" for t in spec.inputs):
                    slot.prepare_drawing(kernel)
                self._slots[graph][bucket] = slot
            self._opened = opened.pop_all()

    @property
    def largest(self) -> int:
        """The largest batch that it runs at once, of any graph."""
        return min(max(slots) for slots in self._slots.values())

    def run(
        self, graph: str, inputs: Inputs, out: Tensors | None = None
    ) -> dict[str, NDArray[Any]]:
        """Run any number of rows, in as many buckets as it takes, the outputs into `out` if
        given."""
        slots = self._slots[graph]
        rows = len(next(iter(inputs.values())))
        outputs = {} if out is None else dict(out)
        start = 0
        for bucket in split(rows, tuple(slots)):
            stop = min(start + bucket, rows)
            part: Inputs = {name: array[start:stop] for name, array in inputs.items()}
            for name, array in slots[bucket].run(part, stop - start).items():
                if name not in outputs:
                    outputs[name] = np.empty((rows, *array.shape[1:]), array.dtype)
                outputs[name][start:stop] = array
            start = stop
        return outputs

    def close(self) -> None:
        self._cuda.synchronize(self._stream)
        self._slots.clear()
        self._opened.close()

    def _allocate(self, size: int, opened: ExitStack) -> int:
        pointer = self._cuda.allocate(max(1, size))
        opened.callback(self._cuda.free, pointer)
        self.memory += size
        return pointer


@cache
def split(rows: int, buckets: tuple[int, ...]) -> tuple[int, ...]:
    """The buckets to run for so many rows, padding weighed against further runs.

    65 rows in buckets of 1, 64 and 256: 64 and 1, not 256.
    """
    whole, rest = divmod(rows, max(buckets))
    return (max(buckets),) * whole + _cheapest_ways(buckets)[rest]


@cache
def _cheapest_ways(buckets: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The cheapest way to run any number of rows below the largest bucket, each from those for
    fewer; a way's buckets in descending order."""
    costs, ways = [0], [()]
    for count in range(1, max(buckets)):
        cost, bucket = min((costs[max(0, count - b)] + b + _RUN_COST, b) for b in buckets)
        costs.append(cost)
        rest = ways[max(0, count - bucket)]
        ways.append(tuple(sorted((bucket, *rest), reverse=True)))
    return ways


class Lanes:
    """Lanes that threads take in turns; a thread gets the one it had before, if that is free."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._free = list(lanes)
        self._mine = threading.local()
        self._given_back = threading.Condition()

    def run(
        self, graph: str, inputs: Inputs, out: Tensors | None = None
    ) -> dict[str, NDArray[Any]]:
        lane = self._take()
        try:
            return lane.run(graph, inputs, out)
        finally:
            with self._given_back:
                self._free.append(lane)
                self._given_back.notify()

    def _take(self) -> Lane:
        with self._given_back:
            while not self._free:
                self._given_back.wait()
            mine: Lane | None = getattr(self._mine, "lane", None)
            lane = mine if mine in self._free else self._free[0]
            assert lane is not None  # noqa: S101 - for pyright: one of the free ones
            self._free.remove(lane)
        self._mine.lane = lane
        return lane


def open_lane(
    cuda: Cuda,
    stream: int,
    engines: Mapping[str, Engine],
    largest: int,
    kernel: int | None = None,
) -> Lane:
    """A lane with all buckets up to `largest`, or with as many of them as the device has room for.

    Fewer cost speed, not results; the log warns. OutOfDeviceMemoryError where not even the smallest
    fits.
    """
    least = max(engine.buckets[0] for engine in engines.values())  # every graph keeps one
    largest = max(largest, least)  # rows beyond those of the request are padding
    sizes = sorted({b for e in engines.values() for b in e.buckets if least <= b <= largest})
    full: OutOfDeviceMemoryError | None = None
    for size in reversed(sizes):
        try:
            lane = Lane(cuda, stream, engines, size, kernel)
        except OutOfDeviceMemoryError as error:
            full = error.with_traceback(None)  # which holds the lane that failed
            continue
        if full is not None:
            logger.warning(
                "not enough device memory for batches of %d: going on with %d (%s)",
                sizes[-1], size, full,
            )  # fmt: skip
        return lane
    raise OutOfDeviceMemoryError(f"not enough device memory for batches of {least}: {full}")
