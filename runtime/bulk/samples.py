"""Many samples into shards of images, in flat memory: any kill is resumed.

An engine may round otherwise in another batch, so which images run together depends on their
numbers alone: a shard's bytes follow from the request, the artifact, its engine and the sizes of
batches and shards, which a later run takes over.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from runtime.batching.jobs import Job
from runtime.bulk.formats import IMAGE_FORMATS, write_images
from runtime.bulk.formats.records import Record
from runtime.bulk.ledger import Ledger, Put, stay
from runtime.images import UInt8Array
from runtime.images.encoding import encode_image
from runtime.images.layout import enlarged
from runtime.images.volumes import as_picture
from runtime.machine import cores
from runtime.model import Model
from runtime.requests.sample import Sample

BATCH = "batch"
"""What the ledger calls the images of one run of the engine."""


class Group(NamedTuple):
    """The images `first`..`end` of a job, which are the shard of this number."""

    number: int
    first: int
    end: int


@dataclass(frozen=True, eq=False)
class Samples:
    """The images of a request, `group_size` of them a shard, enlarged `scale` times."""

    out: Path
    request: Sample
    group_size: int
    scale: int = 1
    format: str = IMAGE_FORMATS[0]
    put: Put = stay
    writers: int = field(default_factory=cores)
    """Threads that encode images."""

    def run(self, model: Model, progress: Callable[[int], object] = lambda _: None) -> Ledger:
        """Write the shards that the folder's ledger does not have yet. `progress` is called with
        numbers of images that are done, those of earlier runs first. InputError where the folder
        cannot be written."""
        ledger = Ledger(self.out, self.put)
        size = ledger.chunk_sizes.get(BATCH) or model.run_rows(self.request.job(model))
        progress(ledger.pictures)
        finishing: Future[None] | None = None
        with ThreadPoolExecutor(1, "bulk-finisher") as finisher:
            for group in self.written(model, self.groups(ledger), size, progress):
                if finishing is not None:
                    finishing.result()
                finishing = finisher.submit(self.finish, ledger, group, size)
            if finishing is not None:
                finishing.result()
        return ledger

    def groups(self, ledger: Ledger) -> list[Group]:
        """The shards that a ledger does not have."""
        return groups_of(ledger, self.request.counter.count, self.group_size)

    def written(
        self,
        model: Model,
        groups: Sequence[Group],
        size: int,
        progress: Callable[[int], object] = lambda _: None,
    ) -> Iterator[Group]:
        """Write shards, `size` images in a run of the engine; each group once its shard is
        whole."""
        job = self.request.job(model)
        with (
            ThreadPoolExecutor(self.writers, "bulk-writer") as pool,
            closing(self._made(model, job, _batches(groups, size), pool)) as made,
        ):
            for group in groups:
                count = group.end - group.first
                write_images(self.out / self.name(group), _until(made, count, progress))
                yield group

    def name(self, group: Group) -> str:
        """Of a group's shard."""
        return f"{group.number:06d}.{self.format}"

    def finish(self, ledger: Ledger, group: Group, size: int) -> None:
        """Note a group whose shard is there."""
        self.put(self.name(group))
        ledger.add(
            pictures=group.end - group.first,
            last_key=_key(group.end - 1),
            skipped=(),
            shards=[{"file": self.name(group), "rows": group.end - group.first}],
            chunk_sizes={BATCH: size},
        )

    def _made(
        self,
        model: Model,
        job: Job[UInt8Array],
        batches: Iterator[tuple[int, int]],
        pool: ThreadPoolExecutor,
    ) -> Generator[list[Record]]:
        """The records of each batch, in order, a bounded number of them made ahead."""
        ahead: deque[tuple[Future[UInt8Array], Future[list[Record]]]] = deque()
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
            for images, records in ahead:
                records.cancel()
                images.cancel()

    def _encoded(
        self, images: Future[UInt8Array], start: int, stop: int, describe: "_Describe"
    ) -> list[Record]:
        numbered = enumerate(zip(images.result(), describe(start, stop), strict=True), start)
        return [
            Record(_key(number), encode_image(enlarged(as_picture(image), self.scale)), about)
            for number, (image, about) in numbered
        ]

    def _described(self, model: Model) -> "_Describe":
        """What made images start..stop: seed, index, label or prompt, and model."""
        manifest, counter = model.manifest, self.request.counter
        labels, classes = self.request.chosen_labels(manifest), manifest.labels or ()
        name = manifest.full_name

        def describe(start: int, stop: int) -> list[dict[str, int | str]]:
            seeds, numbers = (array.tolist() for array in counter.slice(start, stop).numbers())
            prompts = self.request.chosen_prompts(manifest, start, stop)
            made: list[dict[str, int | str]] = []
            for row in range(stop - start):
                about: dict[str, int | str] = {"seed": seeds[row], "index": numbers[row]}
                if labels is not None:
                    about["label"] = classes[int(labels[start + row])]
                if prompts is not None:
                    about["prompt"] = prompts[row]
                made.append(about | {"model": name})
            return made

        return describe


_Describe = Callable[[int, int], list[dict[str, int | str]]]


def groups_of(ledger: Ledger, count: int, size: int) -> list[Group]:
    """The groups of `size` of a job of `count` images that a ledger does not have."""
    firsts = range(ledger.pictures, count, size)
    numbered = enumerate(firsts, ledger.groups)
    return [Group(number, first, min(first + size, count)) for number, first in numbered]


def _until(
    made: Iterator[list[Record]], count: int, progress: Callable[[int], object]
) -> Iterator[Record]:
    """The next `count` records, from whole batches."""
    while count:
        records = next(made)
        yield from records
        progress(len(records))
        count -= len(records)


def _key(number: int) -> str:
    return f"{number:09d}"


def _batches(groups: Sequence[Group], size: int) -> Iterator[tuple[int, int]]:
    """No batch is of two groups."""
    for _, first, end in groups:
        for start in range(first, end, size):
            yield start, min(start + size, end)
