"""Sources at URLs. Tars and Parquet files are copied to a temporary file, the next one while the
pictures of one are read; of a folder's files each is read where it is."""

import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import mkstemp
from threading import Thread

from runtime.bulk.remote import Remote
from runtime.bulk.sources.folders import named
from runtime.bulk.sources.items import HOLDS_PICTURES, SUFFIXES, Named, Source
from runtime.errors import InputError, without_frames
from runtime.images.trees import is_hidden


def remote_folder(url: str) -> Source:
    """The pictures below a folder; InputError where there are none."""
    folder = Remote(url, "images")
    paths = [PurePosixPath(file) for file in folder.files()]
    files = [path for path in paths if path.suffix.lower() in SUFFIXES and not is_hidden(path)]
    if not files:
        raise InputError("images", HOLDS_PICTURES, url)

    def read(file: PurePosixPath, most: int) -> bytes:
        return Remote(folder.file(str(file)).url, "image").read(most)

    return Source(named(sorted(files), read), len(files))


class _Copy:
    """A file that is deleted when nobody has it any more: with the last of its pictures."""

    def __init__(self, suffix: str) -> None:
        number, name = mkstemp(suffix, "latentserve-")
        os.close(number)
        self.path = Path(name)
        weakref.finalize(self, self.path.unlink, missing_ok=True)


class Copies:
    """Files at URLs, one after another, each as a local one; the next one is copied meanwhile."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._left = list(urls)
        self._coming: Future[_Copy] | None = None

    def source(self, opened: Callable[[Path], Source]) -> Source:
        """The pictures of the next file, in the order of the URLs."""
        return Source(self._pictures(opened), None)

    def _pictures(self, opened: Callable[[Path], Source]) -> Iterator[Named]:
        local = (self._coming or self._begun()).result()
        self._coming = self._begun() if self._left else None
        for key, name, read in opened(local.path).pictures:
            yield key, name, partial(_read, local, read)

    def _begun(self) -> Future[_Copy]:
        url, copy = self._left.pop(0), Future[_Copy]()

        def get() -> None:
            try:
                local = _Copy(Path(url).suffix)
                Remote(url, "images").get(local.path)
                copy.set_result(local)
            except BaseException as error:
                copy.set_exception(without_frames(error))

        Thread(target=get, name="bulk-copier", daemon=True).start()
        return copy


def _read(copy: _Copy, read: Callable[[int], bytes], most: int) -> bytes:
    return read(most)
