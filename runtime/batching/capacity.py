"""How many rows one engine run takes, and how many bytes rows hold."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from runtime.artifact.bounds import Bounds
from runtime.artifact.size import Size


class Capacity(Protocol):
    """What rows hold, and an engine run may. Called for every request: quick, and never raises."""

    @property
    def memory(self) -> int | None:
        """Bytes that all runs in flight, and all requests that wait, may each hold together; None:
        not limited."""
        ...

    def rows(self, graph: str, size: Size) -> int:
        """The most rows of one run, at least 1."""
        ...

    def bytes(self, graph: str, size: Size, rows: int) -> int:
        """Bytes that a run of so many rows holds at its peak. More rows never hold fewer."""
        ...

    def row_bytes(self, graph: str, size: Size) -> int:
        """Bytes of one row's inputs and outputs, which a request holds while it waits."""
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

    def row_bytes(self, graph: str, size: Size) -> int:
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
    _known: dict[tuple[str, Size], "_Measures"] = field(
        default_factory=dict[tuple[str, Size], "_Measures"]
    )

    def rows(self, graph: str, size: Size) -> int:
        """The most rows of one run, at least 1."""
        return self._measured(graph, size).rows

    def bytes(self, graph: str, size: Size, rows: int) -> int:
        """Bytes that a run of so many rows holds at its peak."""
        found = self._measured(graph, size)
        return found.first + (rows - 1) * found.further

    def row_bytes(self, graph: str, size: Size) -> int:
        """Bytes of one row's inputs and outputs."""
        return self._measured(graph, size).row

    def _measured(self, graph: str, size: Size) -> "_Measures":
        # Asked for several times by every request: looked up, not computed.
        found = self._known.get((graph, size))
        if found is None:
            bounds = self.bounds[graph]
            first = bounds.cost(1, size).bytes
            further = bounds.cost(2, size).bytes - first
            fitting = bounds.rows(self.memory // self.runners, size)
            if len(self._known) > 4096:  # sizes that clients made up must not fill the memory
                self._known.clear()
            rows = max(1, min(self.max_batch, fitting))
            found = _Measures(rows, first, further, bounds.row_bytes(size))
            self._known[graph, size] = found
        return found


class _Measures(NamedTuple):
    """The most rows of one run; the bytes of a run of one row, of each further row, and of one
    row's inputs and outputs."""

    rows: int
    first: int
    further: int
    row: int


def fitting_rows(capacity: Capacity, graph: str, size: Size, rows: int, left: int) -> int:
    """The most rows, up to `rows`, whose run holds at most `left` bytes; 0 where not one fits."""
    if capacity.bytes(graph, size, rows) <= left:
        return rows
    fewer = range(1, rows)
    return bisect_right(fewer, left, key=lambda n: capacity.bytes(graph, size, n))
