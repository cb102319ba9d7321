"""Pictures into runs of the engine: those of one bucket together, always the same ones.

An engine may round otherwise in a batch of another size, so which pictures ride together depends on
their order alone, not on who is faster, and a run that was killed goes on with whole chunks.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from runtime.bulk.buckets import Bucket
from runtime.bulk.pictures import Keys, Known, Picture, Skipped
from runtime.images import ImageSpec


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Pictures of one bucket for one run of the engine."""

    group: int
    bucket: Bucket
    pictures: list[Picture]


@dataclass(frozen=True, slots=True)
class Missing:
    """A skipped picture of a group."""

    group: int
    skipped: Skipped


@dataclass(frozen=True, slots=True)
class GroupEnd:
    """All pictures of a group have come: so many, the key of the last one, and the mark of all."""

    group: int
    pictures: int
    last_key: str
    keys: str


Event = Chunk | Missing | GroupEnd


def chunked(
    pictures: Iterable[Picture | Skipped | Known],
    *,
    first_group: int,
    group_size: int,
    chunk_size: Callable[[ImageSpec], int],
    sorts: bool = True,
) -> Iterator[Event]:
    """Chunks of at most `chunk_size(spec)` pictures that come in order; every `group_size`
    pictures, skipped ones too, are a group, and no chunk is of two groups. Without `sorts`, only
    pictures that follow each other are in one chunk, and at most one chunk waits for more."""
    group, count, last_key, keys = first_group, 0, "", Keys()
    waiting: dict[Bucket, list[Picture]] = {}

    def flushed() -> Iterator[Event]:
        for bucket in sorted(waiting):
            yield Chunk(group, bucket, waiting[bucket])
        waiting.clear()

    def ended() -> Iterator[Event]:
        yield from flushed()
        yield GroupEnd(group, count, last_key, keys.mark)

    for each in pictures:
        count += 1
        if not sorts and not (isinstance(each, Picture) and each.bucket in waiting):
            yield from flushed()
        if isinstance(each, Picture):
            last_key = each.row.key
            there = waiting.setdefault(each.bucket, [])
            there.append(each)
            if len(there) == chunk_size(each.spec):
                yield Chunk(group, each.bucket, waiting.pop(each.bucket))
        else:
            last_key = each.key
            if isinstance(each, Skipped):
                yield Missing(group, each)
        keys.add(last_key)
        if count == group_size:
            yield from ended()
            group, count, keys = group + 1, 0, Keys()
    if count:
        yield from ended()
