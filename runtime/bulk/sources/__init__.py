"""Where the pictures of a bulk job come from: folders, tars and Parquet files, a module each, and
any of them at URLs.

A picture has a number, its place in the order of all, and a key, which no other one has.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path, PurePosixPath

from runtime.bulk.remote import expanded
from runtime.bulk.sources.folders import folder
from runtime.bulk.sources.items import Item, Named, Source
from runtime.bulk.sources.parquet import parquet
from runtime.bulk.sources.remote import Copies, remote_folder
from runtime.bulk.sources.tars import tar
from runtime.errors import InputError
from runtime.images.trees import first_few, is_folder


@dataclass(frozen=True)
class Found:
    """The pictures of a job, and how many there are, where that is known before they are read."""

    items: Iterator[Item]
    total: int | None


def find(places: Sequence[Path | str], column: str | None = None) -> Found:
    """The pictures of folders, tars and Parquet files (`column`: which of theirs) at paths and URLs
    (text), always in the same order: of one after the other, a folder's sorted by path, others' as
    they hold them.

    Of several sources each has its name before its keys: `train-00001/0042`. Where a key comes
    again (`a.jpg` and `a.png`, or several pictures of a WebDataset sample), the later picture has
    its full name as key, with a number behind it if that is taken too. Only the keys of one source
    are in memory, as 8 bytes each. Raises InputError for anything else.
    """
    places = expanded(places)
    names = [_name(place) for place in places]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError("images", "sources of distinct names", f"{first_few(twice)} twice")
    copies = Copies([place for place in places if isinstance(place, str) and _kind(place)])
    sources = [_opened(place, copies, column) for place in places]
    counts = [source.count for source in sources if source.count is not None]
    total = sum(counts) if len(counts) == len(sources) else None
    prefixes = [f"{name}/" if len(names) > 1 else "" for name in names]
    return Found(_numbered([source.pictures for source in sources], prefixes), total)


def _kind(place: Path | str) -> str:
    """The suffix of a file that holds pictures."""
    suffix = PurePosixPath(place).suffix.lower()
    return suffix if suffix in (".tar", ".parquet") else ""


def _name(place: Path | str) -> str:
    path = PurePosixPath(place) if isinstance(place, str) else place.resolve()
    return path.name[: len(path.name) - len(_kind(place))]


def _opened(place: Path | str, copies: Copies, column: str | None) -> Source:
    kind = _kind(place)
    opened = {".tar": tar, ".parquet": partial(parquet, column=column)}.get(kind)
    if isinstance(place, str):
        return remote_folder(place) if opened is None else copies.source(opened)
    if is_folder(place):
        return folder(place)
    if opened is not None and place.is_file():
        return opened(place)
    expected = "folders, plain .tar files (unpack a .tar.gz with gunzip) and .parquet files"
    found = f"{place}{'' if place.exists() else ', which is not there'}"
    raise InputError("images", expected, found)


def _numbered(opened: Iterable[Iterator[Named]], prefixes: Iterable[str]) -> Iterator[Item]:
    number = count()
    for source, prefix in zip(opened, prefixes, strict=True):
        seen: set[int] = set()
        for key, name, read in source:
            for candidate in _candidates(key, name):
                digest = hashlib.blake2b(candidate.encode(), digest_size=8).digest()
                mark = int.from_bytes(digest, "little")
                if mark not in seen:
                    seen.add(mark)
                    yield Item(next(number), prefix + candidate, read)
                    break


def _candidates(key: str, name: str) -> Iterator[str]:
    yield key
    yield name
    for i in count(2):
        yield f"{name}#{i}"
