"""What stands in the queue, and what a runner takes from it. Only the queue, and its `Room`, change
an entry."""

import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from runtime.batching.capacity import Needs
from runtime.batching.jobs import Job


@dataclass(eq=False, slots=True, weakref_slot=True)
class Entry:
    """A request in the queue: its job of the moment, what that needs, and its future.

    Rows before `taken` were given to runners, `done` of them are back. `where` is the line or the
    queue while the entry stands in one of them.
    """

    job: Job[Any]
    future: Future[Any]
    needs: Needs
    arrived: float = field(default_factory=time.monotonic)
    window: int = 0
    row_bytes: int = 0
    taken: int = 0
    done: int = 0
    outputs: dict[str, NDArray[Any]] | None = None
    where: "deque[Entry] | None" = None
    settled: bool = False

    @property
    def remaining(self) -> int:
        return self.job.count - self.taken

    @property
    def weight(self) -> int:
        """The images it counts for while it waits."""
        return min(self.remaining, self.window)


@dataclass(slots=True)
class Slice:
    """Rows start..stop of an entry's job, counted from the job's first row."""

    entry: Entry
    start: int
    stop: int

    @property
    def rows(self) -> int:
        return self.stop - self.start


@dataclass(slots=True)
class Batch:
    """Slices of one graph and one size, and the bytes that their run may hold. `solo`: one image
    that may have all cores, since nothing else ran or waited when it was taken."""

    slices: list[Slice]
    images: int
    bytes: int
    solo: bool = False

    @property
    def graph(self) -> str:
        return self.slices[0].entry.job.graph


@dataclass(slots=True)
class Claim:
    """The right of a caller to run one row in its own thread: the bytes that the run may hold, and
    whether it may have all cores."""

    bytes: int
    solo: bool
