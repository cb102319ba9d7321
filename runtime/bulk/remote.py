"""Files at URLs (s3://, gs://, memory://, ...): fsspec and the packages that it needs for each."""

import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.bulk.packages import fsspec
from runtime.errors import InputError, StorageError

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def location(text: str) -> Path | str:
    """A path, or a URL as it is."""
    return text if _URL.match(text) else Path(text)


@dataclass(frozen=True)
class Remote:
    """A file or folder at a URL. Its methods raise StorageError for what the file system says."""

    url: str
    field: str
    """What errors name: `out`, `images`."""

    def file(self, name: str) -> "Remote":
        """What is in a folder."""
        return Remote(f"{self.url.rstrip('/')}/{name}", self.field)

    def names(self) -> list[str]:
        """What is in a folder; nothing where there is none."""
        with self._reached() as (system, path):
            system.invalidate_cache()
            try:
                found: list[str] = system.ls(path, detail=False)
            except FileNotFoundError:
                return []
            return [name for each in found if (name := each.rstrip("/").rpartition("/")[2])]

    def files(self) -> list[str]:
        """The files below a folder, by their paths in it, sorted."""
        with self._reached() as (system, path):
            system.invalidate_cache()
            root = f"{path.rstrip('/')}/"
            found: list[str] = system.find(path)
            return sorted(each.removeprefix(root) for each in found)

    def matching(self) -> list[str]:
        """The URLs that a pattern with stars stands for, sorted."""
        with self._reached() as (system, path):
            system.invalidate_cache()
            return [system.unstrip_protocol(each) for each in sorted(system.glob(path))]

    def read(self, most: int) -> bytes:
        """The file, which must have at most so many bytes, else InputError; so where it is gone."""
        with self._reached() as (system, path):
            try:
                data: bytes = system.cat_file(path, start=0, end=most + 1)
            except FileNotFoundError:
                raise InputError(self.field, "a file that is there", self.url) from None
        if len(data) > most:
            raise InputError(self.field, f"at most {most} bytes", f"{self.url}, which has more")
        return data

    def get(self, path: Path) -> None:
        """Copy the file to a path."""
        with self._reached() as (system, own):
            system.get_file(own, str(path))

    def put(self, path: Path) -> None:
        """Copy a file there. Object stores show it once it is whole."""
        with self._reached() as (system, own):
            try:
                system.put_file(str(path), own)
            except FileNotFoundError:  # where folders are not made by themselves
                folder = own.rpartition("/")[0]
                top = folder[:1] + folder[1:].partition("/")[0]
                if not system.exists(top):  # a bucket: nobody means to make one by a wrong name
                    raise
                system.makedirs(folder, exist_ok=True)
                system.put_file(str(path), own)

    def delete(self) -> None:
        with self._reached() as (system, path):
            system.rm_file(path)

    @contextmanager
    def _reached(self) -> Generator[tuple[Any, str]]:
        """The file system, and the path in it."""
        core = fsspec("core")
        try:
            yield core.url_to_fs(self.url)
        except InputError:
            raise
        except Exception as error:  # each file system has its own
            why = f"{type(error).__name__}: {error}"
            raise StorageError(
                self.field, "a URL that can be reached", f"{self.url} ({why})"
            ) from error


def expanded(places: Sequence[Path | str]) -> list[Path | str]:
    """Places with what patterns (s3://bucket/train-*.tar) stand for in their place. InputError for
    one that stands for nothing."""
    found: list[Path | str] = []
    for place in places:
        if isinstance(place, str) and "*" in place:
            matching = Remote(place, "images").matching()
            if not matching:
                raise InputError("images", "a pattern of files that are there", place)
            found += matching
        else:
            found.append(place)
    return found
