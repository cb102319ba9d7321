"""How many rows one engine run takes, and how many bytes rows hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from runtime.artifact.bounds import Bounds
from runtime.artifact.size import Size


@dataclass(frozen=True)
class Needs:
    """What rows of one graph and size need."""

    most: int
    """The most rows of one run, at least 1."""
    first: int = 0
    """Bytes that a run of one row holds at its peak."""
    further: int = 0
    """Bytes that each further row of a run adds."""
    waiting: int = 0
    """Bytes of one row's inputs and outputs, which a request holds while it waits."""
    seconds: float = 0.0
    """About how long one row takes; 0 where that is not known."""

    def bytes(self, rows: int) -> int:
        """Bytes that a run of so many rows holds at its peak."""
        return self.first + (rows - 1) * self.further

    def fitting(self, rows: int, left: int) -> int:
        """The most rows, up to `rows`, whose run holds at most `left` bytes; 0 where not one
        fits."""
        if self.bytes(rows) <= left:
            return rows
        return max(0, 1 + (left - self.first) // self.further) if self.further else 0


class Capacity(Protocol):
    """What an engine run may hold. Called for every request, several times, also under the lock of
    the queue: quick, but for the first time that a size is asked for."""

    @property
    def memory(self) -> int | None:
        """Bytes that all runs in flight, and all requests that wait, may each hold together; None:
        not limited."""
        ...

    def needs(self, graph: str, size: Size) -> Needs:
        """What rows of a graph and a size need. Of a size that was told before it never raises."""
        ...


class FixedCapacity:
    """As many rows for every graph and size, each of which takes as long, and no limit on
    memory."""

    memory: None = None

    def __init__(self, max_batch: int, seconds: float = 0.0) -> None:
        self._needs = Needs(max_batch, seconds=seconds)

    def needs(self, graph: str, size: Size) -> Needs:
        return self._needs


@dataclass(frozen=True)
class GraphCapacity:
    """Rows of a run by the bytes that they hold at its peak, `max_batch` at most.

    Each of the runners has its share of the memory, and takes `run_bytes` of it at most; where one
    row needs more than a share, runs take turns. `pace`: seconds of a multiply-add in each graph.
    """

    bounds: Mapping[str, Bounds]
    max_batch: int
    runners: int
    memory: int
    run_bytes: int
    pace: Mapping[str, float]
    _known: dict[tuple[str, Size], Needs] = field(default_factory=dict[tuple[str, Size], Needs])

    def needs(self, graph: str, size: Size) -> Needs:
        """What rows need, looked up for all but the first request of a size."""
        found = self._known.get((graph, size))
        if found is None:
            bounds = self.bounds[graph]
            one = bounds.cost(1, size)
            share = min(self.memory // self.runners, self.run_bytes)
            found = Needs(
                most=max(1, min(self.max_batch, bounds.rows(share, size))),
                first=one.bytes,
                further=bounds.cost(2, size).bytes - one.bytes,
                waiting=bounds.row_bytes(size),
                seconds=self.pace.get(graph, 0.0) * one.multiply_adds,
            )
            if len(self._known) > 4096:  # sizes that clients made up must not fill the memory
                self._known.clear()
            self._known[graph, size] = found
        return found
