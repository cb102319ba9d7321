"""What a bulk job needs of a network: runs for pictures of one size, and their shards."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from runtime.batching.jobs import Job
from runtime.bulk.buckets import SpecOf
from runtime.bulk.pictures import Picture, Row, Skipped
from runtime.bulk.spool import Spool
from runtime.images import ImageSpec
from runtime.model import Model

CHUNK_BYTES = 8 << 20
"""Pixels of one run, at most: pictures wait for others of their bucket, and there may be dozens of
buckets. A picture that is larger runs alone."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """The rows that a chunk gave: arrays [len(rows), ...], and its pictures that gave none."""

    rows: list[Row]
    arrays: dict[str, NDArray[Any]]
    skipped: list[Skipped]


def rows_of_run(model: Model, job: Job[Any], spec: ImageSpec) -> int:
    """How many pictures of a size one run of `job` has, which is of one picture."""
    held = spec.height * spec.width * spec.channels
    return max(1, min(model.run_rows(job), CHUNK_BYTES // held))


class Flight(Protocol):
    """A run on its way, from the queue to what `encoded` takes of it."""

    def cancel(self) -> Any:
        """Take it out of the queue, as far as no engine has it."""
        ...


class Network(Protocol):
    """One graph of a model, and how a data set goes through it."""

    @property
    def model(self) -> Model: ...

    @property
    def sorts(self) -> bool:
        """Whether pictures of one size run together where others lie between them."""
        ...

    def chunk_size(self, spec: ImageSpec) -> int:
        """How many pictures of a size are in one run. InputError where none can be."""
        ...

    def submit(self, pictures: Sequence[Picture]) -> Flight:
        """Queue a run of its own for pictures of one size."""
        ...

    def encoded(self, pictures: Sequence[Picture], flight: Any) -> Encoded:
        """Wait for the run."""
        ...

    def write(self, out: Path, group: int, spool: Spool) -> Iterator[dict[str, Any]]:
        """Write the shards of a complete group, and describe each when it is there: `file`, `rows`,
        ..."""
        ...


@dataclass(frozen=True, eq=False)
class Prepared:
    """A network, what pictures are brought to, and what must be the same when a job is continued,
    because it changes bytes."""

    network: Network
    spec_of: SpecOf
    same: Mapping[str, Any]
