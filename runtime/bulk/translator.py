"""The translator's part of a bulk job: pictures in, pictures out, each of its own size."""

import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.size import SIZE_AXES
from runtime.batching.jobs import Job
from runtime.bulk.buckets import Bucket
from runtime.bulk.formats import IMAGE_FORMATS, write_images
from runtime.bulk.formats.records import Record
from runtime.bulk.network import Encoded, rows_of_run
from runtime.bulk.pictures import Picture
from runtime.bulk.spool import Spool
from runtime.errors import InputError
from runtime.images import ImageSpec, UInt8Array
from runtime.images.encoding import encode_image
from runtime.images.layout import enlarged
from runtime.model import Model
from runtime.requests.checks import Labels
from runtime.requests.pictures import Frame, picture_spec
from runtime.requests.translate import Translate


@dataclass(frozen=True, eq=False)
class _Flight:
    """A run, and the files that a writer makes of it."""

    made: Future[UInt8Array]
    files: Future[list[bytes]]

    def cancel(self) -> None:
        self.made.cancel()  # the writer that waits for it is told
        self.files.cancel()


@dataclass(frozen=True, eq=False)
class Translator:
    """A model's translator. `writers`: encode what it makes. `size`: [height, width] that pictures
    are brought to; without it each keeps its own. `labels`: of all pictures. The network's noise
    for a picture is that of `seed` and the picture's number. `tile`: as in `Translate`; without it
    a picture is worked on whole, or refused. `scale`: what it makes is enlarged so many times.

    Pictures may be of any number of sizes, of which few may wait for others: so only pictures that
    follow each other run together.
    """

    model: Model
    writers: ThreadPoolExecutor
    size: Sequence[int] | None = None
    labels: Labels | None = None
    seed: int = 0
    tile: int | None = None
    scale: int = 1
    format: str = IMAGE_FORMATS[0]
    sorts = False

    def spec_of(self, picture: Bucket) -> ImageSpec:
        """What a picture (height, width) is brought to. InputError where it is refused."""
        manifest = self.model.manifest
        spec = picture_spec(manifest, "translate", self.size, picture, self.tile)
        if self.tile is None:
            given = Frame.of(manifest, (spec.height, spec.width)).given
            for name, length in zip(SIZE_AXES, given, strict=True):
                axis = manifest.axes.get(name)
                if axis is not None and not axis.accepts(length):
                    expected = f"a {name} {axis}, or --tile"
                    raise InputError("image", expected, f"{length}")
        self.chunk_size(spec)
        return spec

    def chunk_size(self, spec: ImageSpec) -> int:
        """How many pictures of a size are in one run. InputError where none can be."""
        job = self._job(np.broadcast_to(np.uint8(0), (1, *spec.shape)), 0)
        return rows_of_run(self.model, job, spec)

    def submit(self, pictures: Sequence[Picture]) -> _Flight:
        """Queue a run of its own for pictures of one size with consecutive numbers."""
        images = np.stack([each.pixels for each in pictures])
        made = self.model.submit(self._job(images, pictures[0].row.number))
        return _Flight(made, self.writers.submit(self._files, made))

    def encoded(self, pictures: Sequence[Picture], flight: _Flight) -> Encoded:
        """Wait for the run."""
        files = np.empty(len(pictures), object)
        files[:] = flight.files.result()
        return Encoded([each.row for each in pictures], {"png": files}, [])

    def write(self, out: Path, group: int, spool: Spool) -> Iterator[dict[str, Any]]:
        """One shard, of all pictures in their order; none where all were skipped."""
        rows = sum(len(shelf.rows) for shelf in spool.shelves.values())
        if rows:
            name = f"{group:06d}.{self.format}"
            write_images(out / name, self._records(spool))
            yield {"file": name, "rows": rows}

    def _records(self, spool: Spool) -> Iterator[Record]:
        manifest = self.model.manifest
        model = manifest.full_name
        for row, png in spool.files("png"):
            width, height = struct.unpack(">II", png[16:24])  # where every PNG has them
            yield Record(row.key, png, {"width": width, "height": height, "model": model})

    def _files(self, made: Future[UInt8Array]) -> list[bytes]:
        return [encode_image(enlarged(image, self.scale)) for image in made.result()]

    def _job(self, images: NDArray[np.uint8], number: int) -> Job[UInt8Array]:
        request = Translate(
            images, labels=self.labels, seed=self.seed, tile=self.tile, offset=number
        )
        return replace(request.job(self.model), alone=True, tile=self.tile)
