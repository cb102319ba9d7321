"""How many rows one engine run takes, and how many bytes."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from runtime.artifact.bounds import Bounds
from runtime.artifact.size import Size


class Capacity(Protocol):
    """What an engine run may hold. Called for every batch: quick, and never raises."""

    @property
    def memory(self) -> int | None:
        """Bytes that all runs in flight may hold together; None: not limited."""
        ...

    def rows(self, graph: str, size: Size) -> int:
        """The most rows of one run, at least 1."""
        ...

    def bytes(self, graph: str, size: Size, rows: int) -> int:
        """Bytes that a run of so many rows holds at its peak. More rows never hold fewer."""
        ...


@dataclass(frozen=True)
class FixedCapacity:
    """As many rows for every graph and size, and no limit on memory."""

    max_batch: int
    memory: None = None

    def rows(self, graph: str, size: Size) -> int:
        return self.max_batch

    def bytes(self, graph: str, size: Size, rows: int) -> int:
        return 0


@dataclass(frozen=True)
class GraphCapacity:
    """Rows of a run by the bytes that they hold at its peak, `max_batch` at most.

    Each of the runners has its share of the memory; where one row needs more than a share, runs
    take turns.
    """

    bounds: Mapping[str, Bounds]
    max_batch: int
    runners: int
    memory: int
    _known: dict[tuple[str, Size], tuple[int, int, int]] = field(
        default_factory=dict[tuple[str, Size], tuple[int, int, int]]
    )

    def rows(self, graph: str, size: Size) -> int:
        """The most rows of one run, at least 1."""
        return self._measured(graph, size)[0]

    def bytes(self, graph: str, size: Size, rows: int) -> int:
        """Bytes that a run of so many rows holds at its peak."""
        _, first, further = self._measured(graph, size)
        return first + (rows - 1) * further

    def _measured(self, graph: str, size: Size) -> tuple[int, int, int]:
        """The most rows of one run, the bytes of a run of one row, and of each further row.

        Asked for several times by every request, so that it is looked up, not computed.
        """
        found = self._known.get((graph, size))
        if found is None:
            bounds = self.bounds[graph]
            first = bounds.cost(1, size).bytes
            further = bounds.cost(2, size).bytes - first
            fitting = bounds.rows(self.memory // self.runners, size)
            if len(self._known) > 4096:  # sizes that clients made up must not fill the memory
                self._known.clear()
            found = max(1, min(self.max_batch, fitting)), first, further
            self._known[graph, size] = found
        return found


def fitting_rows(capacity: Capacity, graph: str, size: Size, rows: int, left: int) -> int:
    """The most rows, up to `rows`, whose run holds at most `left` bytes; 0 where not one fits."""
    if capacity.bytes(graph, size, rows) <= left:
        return rows
    fewer = range(1, rows)
    return bisect_right(fewer, left, key=lambda n: capacity.bytes(graph, size, n))
