"""A bulk job from its pictures to its shards: opening runs ahead, writing behind the engine.

The calling thread keeps everything in order: it takes prepared pictures, submits chunks, and puts
the rows of finished ones on the disk. A complete group is written as shards by a thread beside it.
"""

import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.bulk.buckets import SpecOf, tag
from runtime.bulk.chunks import Chunk, Event, GroupEnd, Missing, chunked
from runtime.bulk.ledger import OPEN, Done, Ledger, Put, stay
from runtime.bulk.network import Flight, Network
from runtime.bulk.pictures import Keys, Known, Picture, Skipped, prepared
from runtime.bulk.sources import Item
from runtime.bulk.spool import Spool
from runtime.errors import InputError
from runtime.images import MAX_PIXELS, ImageSpec
from runtime.machine import cores

GROUP = 4096
"""Pictures of a group of shards, where nothing else is asked for."""


@dataclass(frozen=True, eq=False)
class Bulk:
    """Where a job's shards go and how it is cut.

    `spec_of`: what pictures are brought to. `group_size`: pictures whose shards appear together.
    `strict`: a picture that cannot be worked on ends the job; without it, it is skipped.
    """

    out: Path
    spec_of: SpecOf
    group_size: int = GROUP
    strict: bool = False
    max_pixels: int = MAX_PIXELS
    readers: int = field(default_factory=cores)
    """Threads that open pictures."""
    put: Put = stay
    chunk_sizes: Mapping[str, int] = field(default_factory=dict[str, int])
    """Of sizes that the folder's ledger does not know."""

    def run(
        self,
        network: Network,
        items: Iterable[Item],
        progress: Callable[[int], object] | None = None,
    ) -> Ledger:
        """Work on what the folder's ledger does not have yet. `progress` is called with numbers of
        pictures that are done, those of earlier runs first.

        InputError where the pictures are not those of an earlier run, or cannot be written.
        """
        ledger = Ledger(self.out, self.put)
        with ThreadPoolExecutor(self.readers, "bulk-reader") as readers:
            _Run(self, network, ledger, readers, progress or (lambda _: None)).all(items)
        unfinished = self.out / OPEN
        if unfinished.exists():
            unfinished.rmdir()
        return ledger


class _Run:
    """One run of a job: what is in flight."""

    def __init__(
        self,
        bulk: Bulk,
        network: Network,
        ledger: Ledger,
        readers: ThreadPoolExecutor,
        progress: Callable[[int], object],
    ) -> None:
        self._bulk, self._network, self._ledger = bulk, network, ledger
        self._readers, self._progress = readers, progress
        self._first_group, self._first_number = ledger.groups, ledger.pictures
        self._done = list(ledger.done)
        self._spools: dict[int, Spool] = {}
        self._chunk_sizes = {**bulk.chunk_sizes, **ledger.chunk_sizes}
        for left in sorted((bulk.out / OPEN).glob("*")):
            if int(left.name) < ledger.groups:  # finished, and then killed
                shutil.rmtree(left)
            else:
                self._spool(int(left.name))
        self._ahead = 2 * network.model.runners + 1
        self._flying: deque[tuple[Event, Flight | None]] = deque()
        self._finishing: deque[Future[None]] = deque()

    def all(self, items: Iterable[Item]) -> None:
        events = chunked(
            self._prepared(items),
            first_group=self._first_group,
            group_size=self._bulk.group_size,
            chunk_size=self._chunk_size,
            sorts=self._network.sorts,
        )
        with ThreadPoolExecutor(1, "bulk-finisher") as finisher:
            try:
                chunks = 0
                for event in events:
                    flight = None
                    if isinstance(event, Chunk):
                        flight = self._network.submit(event.pictures)
                        chunks += 1
                    self._flying.append((event, flight))
                    while self._flying and (chunks > self._ahead or self._flying[0][1] is None):
                        chunks -= self._settle(finisher)
                while self._flying:
                    self._settle(finisher)
                for finished in self._finishing:
                    finished.result()
                for group, spool in self._spools.items():
                    self._check_end(group, 0, spool)
                    spool.close()
                    spool.remove()  # an earlier run began it, and had no row of it
            finally:
                for _, flight in self._flying:
                    if flight is not None:
                        flight.cancel()
                for spool in self._spools.values():
                    spool.close()

    def _prepared(self, items: Iterable[Item]) -> Iterator[Picture | Skipped | Known]:
        """Pictures in order, a bounded number of them opened ahead."""
        ahead: deque[Future[Picture | Skipped] | Known] = deque()
        try:
            self._progress(self._first_number)
            for item in remaining(items, self._done):
                key = self._spool(self._group(item.number)).known.get(item.number)
                if key is None:
                    given = item, self._bulk.spec_of, self._bulk.max_pixels
                    ahead.append(self._readers.submit(prepared, *given))
                else:
                    _check_key(key, item.key)
                    ahead.append(Known(item.number, item.key))
                    self._progress(1)
                while len(ahead) > 4 * self._bulk.readers:
                    yield _ready(ahead.popleft())
            while ahead:
                yield _ready(ahead.popleft())
        finally:
            for each in ahead:
                if isinstance(each, Future):
                    each.cancel()

    def _check_end(self, group: int, pictures: int, spool: Spool) -> None:
        """All pictures of a group came that an earlier run has rows of."""
        first = self._first_number + (group - self._first_group) * self._bulk.group_size
        for number, key in spool.known.items():
            if number >= first + pictures:
                raise InputError("images", f"the pictures of earlier runs, {key!r} too", "the end")

    def _group(self, number: int) -> int:
        return self._first_group + (number - self._first_number) // self._bulk.group_size

    def _spool(self, group: int) -> Spool:
        if group not in self._spools:
            spool = self._spools[group] = Spool(self._bulk.out / OPEN / f"{group:06d}")
            for bucket, shelf in spool.shelves.items():
                self._chunk_sizes.setdefault(tag(bucket), shelf.chunk_size)
        return self._spools[group]

    def _chunk_size(self, spec: ImageSpec) -> int:
        name = tag((spec.height, spec.width))
        if name not in self._chunk_sizes:
            self._chunk_sizes[name] = self._network.chunk_size(spec)
        return self._chunk_sizes[name]

    def _settle(self, finisher: ThreadPoolExecutor) -> bool:
        """Deal with the oldest event; whether it was a chunk."""
        event, flight = self._flying.popleft()
        spool = self._spools[event.group]
        if isinstance(event, Chunk) and flight is not None:
            encoded = self._network.encoded(event.pictures, flight)
            self._refuse(encoded.skipped)
            size = self._chunk_sizes[tag(event.bucket)]
            spool.add(event.bucket, encoded.rows, encoded.arrays, encoded.skipped, size)
            self._progress(len(event.pictures))
            return True
        if isinstance(event, Missing):
            self._refuse([event.skipped])
            spool.skip(event.skipped)
            self._progress(1)
        if isinstance(event, GroupEnd):
            while len(self._finishing) > 1:
                self._finishing.popleft().result()
            self._check_end(event.group, event.pictures, spool)
            del self._spools[event.group]
            self._finishing.append(finisher.submit(self._finish, event, spool))
        return False

    def _refuse(self, skipped: list[Skipped]) -> None:
        if skipped and self._bulk.strict:
            raise InputError(
                f"images[{skipped[0].key!r}]", "one that can be worked on", skipped[0].reason
            )

    def _finish(self, end: GroupEnd, spool: Spool) -> None:
        """Write a complete group: its shards, its line in the ledger."""
        spool.close()
        shards: list[dict[str, Any]] = []
        for shard in self._network.write(self._bulk.out, end.group, spool):
            self._bulk.put(shard["file"])
            shards.append(shard)
        self._ledger.add(
            pictures=end.pictures,
            last_key=end.last_key,
            skipped=sorted(spool.skipped, key=lambda each: each.number),
            shards=shards,
            chunk_sizes={tag(b): shelf.chunk_size for b, shelf in spool.shelves.items()},
            keys=end.keys,
        )
        spool.remove()


def remaining(items: Iterable[Item], done: Sequence[Done]) -> Iterator[Item]:
    """The pictures that come after those of the groups that earlier runs have `done`. InputError
    where other pictures come than theirs, or fewer."""
    found, keys, ends = 0, Keys(), deque(done)
    for item in items:
        if not ends:
            yield item
            continue
        found += 1
        keys.add(item.key)
        if found == ends[0].pictures:
            end = ends.popleft()
            _check_key(end.last_key, item.key)
            if end.keys not in ("", keys.mark):
                expected = f"the pictures of earlier runs, in their order, as far as {item.key!r}"
                raise InputError("images", expected, "others among them")
            keys = Keys()
    if ends:
        raise InputError("images", f"the {done[-1].pictures} pictures of earlier runs", f"{found}")


def _check_key(expected: str, found: str) -> None:
    if expected != found:
        raise InputError("images", f"the pictures of earlier runs, {expected!r} next", f"{found!r}")


def _ready(each: Future[Picture | Skipped] | Known) -> Picture | Skipped | Known:
    return each if isinstance(each, Known) else each.result()
