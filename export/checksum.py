"""What an artifact's provenance says of the files that it was made of."""

import hashlib
from pathlib import Path

from export.shards import is_index, shards


def checksum(path: Path) -> str:
    """SHA-256 of a file or, for an index of shards, of these one after another in the order of
    their names."""
    digest = hashlib.sha256()
    for part in sorted(set(shards(path).values())) if is_index(path) else [path]:
        with part.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()
