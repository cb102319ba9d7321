"""How many rows one engine run takes, and how many bytes."""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Protocol

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


def fitting_rows(capacity: Capacity, graph: str, size: Size, rows: int, left: int) -> int:
    """The most rows, up to `rows`, whose run holds at most `left` bytes; 0 where not one fits."""
    if capacity.bytes(graph, size, rows) <= left:
        return rows
    fewer = range(1, rows)
    return bisect_right(fewer, left, key=lambda n: capacity.bytes(graph, size, n))
