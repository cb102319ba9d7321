"""Many samples into tars, in flat memory: any kill is resumed.

The tars are WebDataset's (https://github.com/webdataset/webdataset): for each image a PNG and a
JSON, named by its number. An engine may round otherwise in another batch, so which images run
together depends on their numbers alone: a tar's bytes follow from the request, the artifact, its
engine and the sizes of batches and tars, which a later run takes over.
"""

import io
import json
import os
import re
import tarfile
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from runtime.batching.jobs import Job
from runtime.bulk.ledger import LEDGER, SKIPPED, Ledger
from runtime.images import UInt8Array
from runtime.images.encoding import encode_image
from runtime.images.files import renamed, writable
from runtime.images.layout import enlarged
from runtime.machine import cores
from runtime.model import Model
from runtime.requests.sample import Sample

_BATCH = "batch"
"""What the ledger calls the images of one run of the engine."""
_TAR = re.compile(r"\d{6,}\.tar")

_File = tuple[str, bytes]


@dataclass(frozen=True, eq=False)
class Samples:
    """The images of a request, `group_size` of them a tar, enlarged `scale` times."""

    out: Path
    request: Sample
    group_size: int
    scale: int = 1
    writers: int = field(default_factory=cores)
    """Threads that encode images."""

    def run(self, model: Model, progress: Callable[[int], object] = lambda _: None) -> Ledger:
        """Write the tars that the folder's ledger does not have yet. `progress` is called with
        numbers of images that are done, those of earlier runs first. InputError where the folder
        cannot be written."""
        ledger, job = Ledger(self.out), self.request.job(model)
        size = ledger.chunk_sizes.get(_BATCH) or model.run_rows(job)
        progress(ledger.pictures)
        groups = range(ledger.pictures, job.count, self.group_size)
        ends = [(first, min(first + self.group_size, job.count)) for first in groups]
        with (
            ThreadPoolExecutor(self.writers, "bulk-writer") as pool,
            closing(self._made(model, job, _batches(ends, size), pool)) as made,
        ):
            for first, end in ends:
                name = f"{ledger.groups:06d}.tar"
                with renamed(self.out / name) as file:
                    _write_tar(file, self._files(made, first, end, progress))
                ledger.add(
                    pictures=end - first,
                    last_key=_key(end - 1),
                    skipped=(),
                    shards=[{"file": name, "rows": end - first}],
                    chunk_sizes={_BATCH: size},
                )
        return ledger

    def _files(
        self,
        made: Iterator[list[_File]],
        first: int,
        end: int,
        progress: Callable[[int], object],
    ) -> Iterator[_File]:
        """Those of images first..end, from whole batches."""
        while first < end:
            files = next(made)
            yield from files
            images = len(files) // 2
            progress(images)
            first += images

    def _made(
        self,
        model: Model,
        job: Job[UInt8Array],
        batches: Iterator[tuple[int, int]],
        pool: ThreadPoolExecutor,
    ) -> Generator[list[_File]]:
        """The files of each batch, in order, a bounded number of them made ahead."""
        ahead: deque[tuple[Future[UInt8Array], Future[list[_File]]]] = deque()
        describe = self._described(model)
        try:
            for start, stop in batches:
                images = model.submit(replace(job.part(start, stop), alone=True))
                ahead.append((images, pool.submit(self._encoded, images, start, stop, describe)))
                if len(ahead) > 2 * model.runners + self.writers:
                    yield ahead.popleft()[1].result()
            while ahead:
                yield ahead.popleft()[1].result()
        finally:
            for images, files in ahead:
                files.cancel()
                images.cancel()

    def _encoded(
        self,
        images: Future[UInt8Array],
        start: int,
        stop: int,
        describe: Callable[[int, int], list[dict[str, Any]]],
    ) -> list[_File]:
        files: list[_File] = []
        numbered = enumerate(zip(images.result(), describe(start, stop), strict=True), start)
        for number, (image, about) in numbered:
            files.append((f"{_key(number)}.png", encode_image(enlarged(image, self.scale))))
            files.append((f"{_key(number)}.json", json.dumps(about, ensure_ascii=False).encode()))
        return files

    def _described(self, model: Model) -> Callable[[int, int], list[dict[str, Any]]]:
        """What made images start..stop: seed, index, label and model."""
        manifest, counter = model.manifest, self.request.counter
        labels, classes = self.request.chosen_labels(manifest), manifest.labels or ()
        name = f"{manifest.name}@{manifest.version}"

        def describe(start: int, stop: int) -> list[dict[str, Any]]:
            seeds, numbers = (array.tolist() for array in counter.slice(start, stop).numbers())
            made: list[dict[str, Any]] = []
            for row in range(stop - start):
                about: dict[str, Any] = {"seed": seeds[row], "index": numbers[row]}
                if labels is not None:
                    about["label"] = classes[int(labels[start + row])]
                made.append(about | {"model": name})
            return made

        return describe


def discard(out: Path) -> None:
    """Delete the tars in a folder and all that is noted of them, so that a job begins anew."""
    with writable(out):
        for file in out.glob("*"):
            if _TAR.fullmatch(file.name) or file.name in (LEDGER, SKIPPED):
                file.unlink()


def _key(number: int) -> str:
    return f"{number:09d}"


def _batches(groups: Sequence[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    """No batch is of two groups."""
    for first, end in groups:
        for start in range(first, end, size):
            yield start, min(start + size, end)


def _write_tar(file: IO[bytes], members: Iterator[_File]) -> None:
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)  # of no time and no user: the bytes depend on neither
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    file.flush()
    os.fsync(file.fileno())  # else a power cut may leave its name on an empty file
