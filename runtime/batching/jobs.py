"""`Job`: work for the engine, as a request describes it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar, cast

from runtime.artifact.size import Size
from runtime.engines.backend import Inputs, Tensors

T = TypeVar("T")
U = TypeVar("U")
Timed = Callable[[Literal["queue", "engine"], float, float], None]
"""Called with each stage of a job, the wait for its first run and each run: when it began and
ended, in seconds of `time.monotonic`."""

AUTOMATIC = 0


@dataclass(frozen=True)
class Job(Generic[T]):
    """Rows `first` .. `first + count - 1` of one graph, and how they become a result.

    `rows(start, stop)` makes the graph's inputs for some of the rows, in a runner's thread.
    `finish(outputs, start)` turns the outputs of all rows into the result; `start` is the number
    of the first row. Rows run together only with rows of the same graph and `size`. A job that is
    `alone` is one batch, with no other rows, so that its rounding is always the same. `timed`
    follows the job.

    `made`: (height, width) of the images that it makes, where these are not the graph's.

    `then(result, start)` makes the job that follows, which gives the future its result instead;
    `followed_by` sets it.

    `tile`: whether its images may be cut into tiles: None for never, AUTOMATIC for where one does
    not fit, or the tiles' edge in pixels. `group`: so many rows make one image.
    """

    graph: str
    count: int
    rows: Callable[[int, int], Inputs]
    finish: Callable[[Tensors, int], T]
    size: Size = ()
    made: tuple[int, int] | None = None
    timed: Timed | None = None
    then: "Callable[[Any, int], Job[Any]] | None" = None
    first: int = 0
    alone: bool = False
    tile: int | None = None
    group: int = 1

    def part(self, start: int, stop: int) -> "Job[T]":
        """The job of rows start..stop of this one, counted from its first row."""
        return replace(self, count=stop - start, first=self.first + start)

    def followed_by(self, then: "Callable[[T, int], Job[U]]") -> "Job[U]":
        """This job, and then the one made from its result and the number of its first row."""
        return cast("Job[U]", replace(self, then=then))
