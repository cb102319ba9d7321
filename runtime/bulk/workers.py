"""What a worker of a bulk job does: one group after another.

Each group is made in a folder of its own, from which its shards are renamed into the job's when
they are whole: two workers that make the same one, because the first was thought dead, do no harm.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from runtime.bulk.ledger import LEDGER, SKIPPED
from runtime.bulk.meter import EngineMeter
from runtime.bulk.network import Prepared
from runtime.bulk.pipeline import Bulk
from runtime.bulk.samples import Group, Samples
from runtime.bulk.sources import Item, find
from runtime.engines.backend import Variant
from runtime.images.files import writable
from runtime.limits import Limits
from runtime.loading import load
from runtime.model import Model

_ALL = 1 << 62
"""As the size of a group: all pictures are of one."""
MAKING = ".making"
"""The folder of what workers are about to finish."""


@dataclass(frozen=True, eq=False)
class Engine:
    """The way in which all workers run the model, which is loaded when it is first needed."""

    artifact: Path
    variant: Variant
    limits: Limits

    @cached_property
    def meter(self) -> EngineMeter:
        return EngineMeter()

    @cached_property
    def model(self) -> Model:
        model = load(
            self.artifact,
            backend=self.variant,
            limits=self.limits,
            observer=self.meter,
            solo=False,  # what it runs must always give the same bytes
        )
        self.meter.begin()
        return model

    def used(self) -> dict[str, Any]:
        """The seconds since the last call that its runners were busy, and that they had."""
        busy, elapsed = self.meter.take()
        return {"busy": busy, "had": elapsed * self.model.runners}


@dataclass(frozen=True, eq=False)
class SampleGroups:
    """Draws the images of groups, `size` of them in a run."""

    engine: Engine
    samples: Samples
    size: int

    def __call__(self, group: Mapping[str, int]) -> dict[str, Any]:
        out = self.samples.out
        with private(out) as folder:
            samples = replace(self.samples, out=folder)
            for each in samples.written(self.engine.model, [Group(**group)], self.size):
                with writable(out):
                    (folder / samples.name(each)).replace(out / samples.name(each))
        return self.engine.used()


@dataclass(frozen=True, eq=False)
class PictureGroups:
    """Works on the pictures of groups as `Bulk` does on those of a whole job. `prepare`: the
    network of a model."""

    engine: Engine
    prepare: Callable[[Model], Prepared]
    images: Sequence[Path | str]
    column: str | None
    out: Path
    strict: bool
    max_pixels: int
    readers: int
    chunk_sizes: Mapping[str, int]

    @cached_property
    def prepared(self) -> Prepared:
        return self.prepare(self.engine.model)

    @cached_property
    def pictures(self) -> "_Pictures":
        return _Pictures(self.images, self.column)

    def __call__(self, group: Mapping[str, int]) -> dict[str, Any]:
        with private(self.out) as folder:
            bulk = Bulk(
                folder,
                self.prepared.spec_of,
                _ALL,
                self.strict,
                self.max_pixels,
                self.readers,
                chunk_sizes=self.chunk_sizes,
            )
            bulk.run(self.prepared.network, self.pictures.taken(group["first"], group["end"]))
            noted = json.loads((folder / LEDGER).read_text())
            skipped = [json.loads(line) for line in (folder / SKIPPED).read_text().splitlines()]
            shards: list[dict[str, Any]] = []
            for shard in noted["shards"]:
                # Its number is the first part of its name; in a job of one group that is 0.
                name = f"{group['number']:06d}{shard['file'].removeprefix(f'{0:06d}')}"
                with writable(self.out):
                    (folder / shard["file"]).replace(self.out / name)
                shards.append({**shard, "file": name})
        return self.engine.used() | {
            "pictures": noted["pictures"],
            "last_key": noted["last_key"],
            "keys": noted["keys"],
            "chunk_sizes": noted["chunk_sizes"],
            "shards": shards,
            "skipped": skipped,
        }


class _Pictures:
    """A job's pictures, of which groups are taken, most often a later one after another."""

    def __init__(self, images: Sequence[Path | str], column: str | None) -> None:
        self._images, self._column = images, column
        self._items: Iterator[Item] = iter(())
        self._next: int | None = None

    def taken(self, first: int, end: int) -> Iterator[Item]:
        """Those of the numbers `first`..`end`."""
        if self._next is None or first < self._next:
            self._items, self._next = find(self._images, self._column).items, 0
        self._next = end
        for item in self._items:
            if item.number >= first:
                yield item
            if item.number + 1 >= end:
                return


@contextmanager
def private(out: Path) -> Generator[Path]:
    """A folder in `out` for one worker and one group."""
    with writable(out):
        (out / MAKING).mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=out / MAKING))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def forget_workers(out: Path) -> None:
    """Delete what workers did not finish."""
    shutil.rmtree(out / MAKING, ignore_errors=True)
