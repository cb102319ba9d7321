"""Writing a file so that no reader ever sees half of it, and a folder that no other writes into."""

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


def lock_folder(folder: Path) -> int | None:
    """The open folder, which the system unlocks when it is closed, by a kill too; None where it
    locks no folders, or there is none. Raises BlockingIOError where another process has locked
    it."""
    try:
        import fcntl

        lock = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if isinstance(error, BlockingIOError):
            raise
        return None  # some network file systems
    return lock
