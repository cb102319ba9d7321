"""Images as WebDataset's tars (https://github.com/webdataset/webdataset)."""

import io
import json
import tarfile
from collections.abc import Iterable
from typing import IO

from runtime.bulk.formats.records import Record


def write_images(file: IO[bytes], records: Iterable[Record]) -> None:
    """For each image a PNG and a JSON, named by its key."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for record in records:
            name = _name(record.key)
            about = json.dumps(record.about, ensure_ascii=False).encode()
            for suffix, data in (("png", record.png), ("json", about)):
                # Of no time and no user: the bytes depend on neither.
                member = tarfile.TarInfo(f"{name}.{suffix}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


def _name(key: str) -> str:
    """A key whose last part has no dot, as what follows a dot is the kind of file: `a.b` becomes
    `a%2Eb`."""
    folder, slash, last = key.rpartition("/")
    return f"{folder}{slash}{last.replace('%', '%25').replace('.', '%2E')}"
