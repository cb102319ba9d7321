"""What a worker of a bulk job does: one group after another.

Each group is made in a folder of its own, from which its shards are renamed into the job's when
they are whole: two workers that make the same one, because the first was thought dead, do no harm.
"""

import shutil
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from runtime.bulk.meter import EngineMeter
from runtime.bulk.samples import Group, Samples
from runtime.engines.backend import Variant
from runtime.images.files import writable
from runtime.limits import Limits
from runtime.loading import load
from runtime.model import Model

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
        model = load(self.artifact, backend=self.variant, limits=self.limits, observer=self.meter)
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
