"""Where a job's files go: a folder, or a URL.

All files are made in a folder. Where they are to go to a URL, that is a temporary one, and whole
files are put there: shards first, then the ledger, whose lines say which shards are there.
"""

import json
import os
from collections.abc import Generator, Iterable
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from runtime.bulk.ledger import LEDGER, SKIPPED, belongs, discard
from runtime.bulk.remote import Remote
from runtime.errors import InputError
from runtime.images.files import REQUEST, writable
from runtime.writing import lock_folder

_NOTES = (REQUEST, SKIPPED, LEDGER)


class Place:
    """A folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, str(folder)
        self._lock: int | None = None

    def hold(self) -> None:
        """Make the folder, and keep other jobs out of it until this is closed. InputError where
        another one is at work there."""
        with writable(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = lock_folder(self.folder)
        except BlockingIOError:
            expected = "a folder in which no other command is at work"
            raise InputError("out", expected, f"{self.folder}") from None

    def close(self) -> None:
        """Let other jobs in."""
        if self._lock is not None:
            os.close(self._lock)

    def put(self, name: str) -> None:
        """A file of the folder is whole, or longer."""

    def gone(self) -> list[str]:
        """The shards that the ledger names and that are not there: moved, or lost."""
        lines = (self.folder / LEDGER).read_text().splitlines()
        named = (shard["file"] for line in lines for shard in json.loads(line)["shards"])
        there = set(self._names())
        return [name for name in named if name not in there]

    def _names(self) -> Iterable[str]:
        return [path.name for path in self.folder.iterdir()]

    def discard(self) -> None:
        """Delete the shards that are there and all that is noted of them."""
        discard(self.folder)


class _RemotePlace(Place):
    """A URL, which cannot be locked. `folder` has what is noted there, and what is being made."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__(folder)
        self.name, self._remote = url, Remote(url, "out")
        there = {*self._remote.names()}
        for name in there.intersection(_NOTES):
            self._remote.file(name).get(folder / name)

    def hold(self) -> None:
        """The folder is this job's as it is."""

    def put(self, name: str) -> None:
        self._remote.file(name).put(self.folder / name)
        if name not in _NOTES:
            (self.folder / name).unlink()

    def _names(self) -> Iterable[str]:
        return self._remote.names()

    def discard(self) -> None:
        # The ledger first: it is not to name shards that are gone.
        for name in sorted(self._remote.names(), key=lambda name: name != LEDGER):
            if belongs(name):
                self._remote.file(name).delete()
        super().discard()


@contextmanager
def opened(where: Path | str) -> Generator[Place]:
    """The place at a path or URL. InputError where it cannot be reached."""
    if isinstance(where, Path):
        with closing(Place(where)) as place:
            yield place
        return
    with TemporaryDirectory(prefix="latentserve-") as folder:
        yield _RemotePlace(where, Path(folder))


def is_empty(url: str) -> bool:
    """Whether nothing is at a URL."""
    return not Remote(url, "out").names()
