"""Writing a file so that no reader ever sees half of it."""

import os
import secrets
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` beside `path` and rename it over `path`. Raises OSError; an old file stays."""
    # Not `tempfile`: its files are for their owner only, these get what the umask allows.
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave the new name on an empty file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
