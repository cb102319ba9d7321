"""What an artifact's provenance says of the files that it was made of."""

import hashlib
from pathlib import Path


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
