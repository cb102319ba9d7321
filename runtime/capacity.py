"""How many rows fit into one run: the graph's own bounds against the memory that runs may take."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from runtime.artifact.bounds import Bounds
from runtime.artifact.size import Size


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
    _rows: dict[tuple[str, Size], int] = field(default_factory=dict[tuple[str, Size], int])

    def rows(self, graph: str, size: Size) -> int:
        """The most rows of one run, at least 1."""
        found = self._rows.get((graph, size))
        if found is None:
            fitting = self.bounds[graph].rows(self.memory // self.runners, size)
            if len(self._rows) > 4096:  # sizes that clients made up must not fill the memory
                self._rows.clear()
            found = self._rows[graph, size] = max(1, min(self.max_batch, fitting))
        return found

    def bytes(self, graph: str, size: Size, rows: int) -> int:
        """Bytes that a run of so many rows holds at its peak."""
        return self.bounds[graph].cost(rows, size).bytes
