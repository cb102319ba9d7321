"""What of a bulk job is done: one line for each group of pictures whose shards are all there."""

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from runtime.bulk.pictures import Skipped
from runtime.errors import InputError
from runtime.images.files import PART, writable

LEDGER, SKIPPED = "ledger.jsonl", "skipped.jsonl"
OPEN = ".open"
"""The folder of groups that are not complete."""
_SHARD = re.compile(r"\d{6,}(-\d+x\d+)?\.(safetensors|npz|tar|parquet)")

Put = Callable[[str], object]
"""Is called with the name of a file in the folder that has become whole, or longer: each shard's
before the ledger's, whose line says that the shard is there."""


def stay(_: str) -> None:
    """A `Put` that leaves files where they are."""


@dataclass(frozen=True)
class Group:
    """A finished group: of so many pictures, whose last one has this key."""

    pictures: int
    last_key: str
    rows: int
    skipped: int
    skipped_end: int
    """Where its lines end in the file of skipped pictures."""
    chunk_sizes: Mapping[str, int]
    """`512x768` -> pictures in one run of the engine: a later run must not choose others."""
    shards: Sequence[Mapping[str, Any]] = field(default=())
    keys: str = ""
    """The mark of its pictures' keys (`Keys`); empty where they follow from the request, or an
    earlier version wrote this."""


class Done(NamedTuple):
    """The end of a finished group: its pictures and all before it are so many."""

    pictures: int
    last_key: str
    keys: str


class Ledger:
    """The finished groups of a folder, counted together. What a kill cut short is cut off."""

    def __init__(self, out: Path, put: Put = stay) -> None:
        self._out, self._put = out, put
        self.groups = self.pictures = self.rows = self.skipped = 0
        self.done: list[Done] = []
        self.chunk_sizes: dict[str, int] = {}
        self._skipped_end = 0
        path = out / LEDGER
        with writable(out):
            out.mkdir(parents=True, exist_ok=True)
            end = 0
            with path.open("a+b") as file:
                file.seek(0)
                for line in file:
                    if line.endswith(b"\n"):
                        self._count(_group(path, line))
                        end += len(line)
            for name, length in ((LEDGER, end), (SKIPPED, self._skipped_end)):
                with (out / name).open("ab"):
                    # Never longer: a file that was cut or taken away would be filled up.
                    os.truncate(out / name, min(length, (out / name).stat().st_size))
        put(SKIPPED)

    def add(
        self,
        *,
        pictures: int,
        last_key: str,
        skipped: Sequence[Skipped],
        shards: Sequence[Mapping[str, Any]],
        chunk_sizes: Mapping[str, int],
        keys: str = "",
    ) -> None:
        """A group is finished: note its skipped pictures, and then itself."""
        lines = [json.dumps({"key": each.key, "reason": each.reason}) + "\n" for each in skipped]
        with writable(self._out):
            _append(self._out / SKIPPED, "".join(lines))
            if lines:
                self._put(SKIPPED)
            group = Group(
                pictures,
                last_key,
                sum(shard["rows"] for shard in shards),
                len(skipped),
                (self._out / SKIPPED).stat().st_size,
                dict(sorted(chunk_sizes.items())),
                shards,
                keys,
            )
            _append(self._out / LEDGER, json.dumps(asdict(group)) + "\n")
            self._put(LEDGER)
        self._count(group)

    def _count(self, group: Group) -> None:
        self.groups += 1
        self.pictures += group.pictures
        self.rows += group.rows
        self.skipped += group.skipped
        self.done.append(Done(self.pictures, group.last_key, group.keys))
        self._skipped_end = group.skipped_end
        self.chunk_sizes |= group.chunk_sizes


def discard(out: Path) -> None:
    """Delete the shards in a folder and all that is noted of them, so that a job begins anew."""
    with writable(out):
        for file in out.glob("*"):
            if belongs(file.name.removesuffix(PART)):  # that a kill cut short
                file.unlink()
        shutil.rmtree(out / OPEN, ignore_errors=True)


def belongs(name: str) -> bool:
    """Whether a file is a job's."""
    return _SHARD.fullmatch(name) is not None or name in (LEDGER, SKIPPED)


def _group(path: Path, line: bytes) -> Group:
    try:
        return Group(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise InputError("out", "a ledger that this version wrote", f"{path} ({error})") from error


def _append(path: Path, text: str) -> None:
    with path.open("ab") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
