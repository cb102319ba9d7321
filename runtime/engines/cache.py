"""What is measured or built on this machine, kept outside the artifacts: a folder of JSON files.

Each file states its subject; an entry that does not fit is made again. A folder that is missing,
damaged or not writable is no error.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from runtime.writing import write_whole

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "LATENTSERVE_CACHE"
"""Environment variable naming the folder of the cache."""


def cache_folder() -> Path:
    """$LATENTSERVE_CACHE, or `latentserve` in the user's cache folder."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "latentserve"


def recall(folder: Path, kind: str, subject: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was remembered of `subject`, or None."""
    try:
        record = json.loads(_path(folder, kind, subject).read_bytes())
        return record["value"] if record["subject"] == subject else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


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


def _path(folder: Path, kind: str, subject: Mapping[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(subject, sort_keys=True).encode()).hexdigest()
    return folder / kind / f"{digest[:32]}.json"
