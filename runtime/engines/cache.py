"""What is measured or built on this machine, kept outside the artifacts: a folder of JSON files.

Each file states its subject; whatever does not fit is made again. A folder that is missing, damaged
or not writable is no error, whatever it contains.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from runtime.writing import write_whole

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "LATENTSERVE_CACHE"
"""Environment variable naming the folder of the cache."""
CHOICES = "choices"
"""The kind of what is remembered of how artifacts run best here."""
_MAX_RECORD_BYTES = 1 << 20
_LOOK_SECONDS = 0.1


def cache_folder() -> Path:
    """$LATENTSERVE_CACHE, or `latentserve` in the user's cache folder."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "latentserve"


def recall(folder: Path, kind: str, subject: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was remembered of `subject`, or None."""
    record = read_record(_path(folder, kind, subject))
    value = record.get("value") if record.get("subject") == subject else None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def read_record(path: Path) -> dict[str, Any]:
    """The JSON object in one file of the cache; empty where the file is anything else."""
    try:
        if not path.is_file():  # a pipe would be waited for
            return {}
        with path.open("rb") as file:
            data = file.read(_MAX_RECORD_BYTES + 1)
        found = json.loads(data) if len(data) <= _MAX_RECORD_BYTES else None
    except (OSError, ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def remember(folder: Path, kind: str, subject: Mapping[str, Any], value: Mapping[str, Any]) -> None:
    """Keep `value` (JSON) for `subject` (JSON); a failure to write is only logged."""
    path = _path(folder, kind, subject)
    text = json.dumps({"subject": subject, "value": value}, indent=2)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, (text + "\n").encode())
    except OSError as error:
        logger.info("%s cannot be written (%s): it will be measured again", path, error.strerror)


def forget(folder: Path, kind: str, subject: Mapping[str, Any]) -> None:
    """Remember nothing of `subject`."""
    with suppress(OSError):
        _path(folder, kind, subject).unlink()


@contextmanager
def alone(folder: Path, kind: str, subject: Mapping[str, Any], seconds: float) -> Generator[None]:
    """Inside, nobody else on this machine is about to remember something of `subject`.

    Another process or thread that is inside is waited for, so many seconds at most. Where the
    folder cannot be locked, nobody is.
    """
    path = _path(folder, kind, subject).with_suffix(".lock")
    lock = _locked(path, time.monotonic() + seconds)
    try:
        yield
    finally:
        if lock is not None:
            with suppress(OSError):
                path.unlink()
            os.close(lock)


def _locked(path: Path, give_up: float) -> int | None:
    """The open file at `path`, locked; None where that cannot be had in time."""
    try:
        import fcntl

        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock), path.stat()):
                    return lock
            except FileNotFoundError:  # who had it has removed it: another file counts now
                pass
            except BlockingIOError:
                if time.monotonic() >= give_up:
                    os.close(lock)
                    return None
                time.sleep(_LOOK_SECONDS)
            except OSError:
                os.close(lock)
                raise
            os.close(lock)
    except (ImportError, OSError):  # Windows, or a folder or file system without locks
        return None


def _path(folder: Path, kind: str, subject: Mapping[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(subject, sort_keys=True).encode()).hexdigest()
    return folder / kind / f"{digest[:32]}.json"
