"""Writing an artifact: complete under its version number, or not there at all."""

import hashlib
import shutil
import tempfile
from pathlib import Path

from export.card import CARD, NEIGHBOURS, model_card
from runtime.artifact.manifest import MANIFEST, MANIFEST_DIGEST
from runtime.artifact.reading import Artifact, read_artifact
from runtime.errors import ExportError


def choose_version(folder: Path, version: int | None) -> int:
    """`version` if it is free, or the number after the highest in `folder`; else ExportError."""
    names = [child.name for child in folder.iterdir()] if folder.is_dir() else []
    taken = [int(name) for name in names if name.isascii() and name.isdecimal()]
    following = max(taken, default=0) + 1
    if version is None:
        return following
    if version in taken:
        raise ExportError(_exists(folder / str(version), following))
    return version


def write(folder: Path, artifact: Artifact) -> Path:
    """Write `folder/version` with its card and checksums, verify it as a reader would, and return
    it.

    A temporary folder beside it is renamed at the end. Raises ExportError, leaving nothing,
    where the version has appeared meanwhile or the disk refuses.
    """
    card = model_card(artifact.manifest, neighbours=NEIGHBOURS in artifact.files)
    files = {**artifact.files, CARD: card.encode()}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    manifest = artifact.manifest.model_copy(update={"files": digests})
    target = folder / str(manifest.version)
    digested = (manifest.model_dump_json(indent=2) + "\n").encode()
    digest = hashlib.sha256(digested).hexdigest()
    everything = {**files, MANIFEST: digested, MANIFEST_DIGEST: f"{digest}\n".encode()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{manifest.version}-", dir=folder))
    except OSError as error:
        raise ExportError(f"{folder}: cannot be created: {error.strerror}") from error
    try:
        for name, data in everything.items():
            (temporary / name).write_bytes(data)
        read_artifact(temporary)
        temporary.chmod(0o755)  # a temporary folder is its owner's alone
        if target.exists():
            raise ExportError(_exists(target, choose_version(folder, None)))
        temporary.rename(target)  # refused by the system where target holds files
    except OSError as error:
        raise ExportError(f"{target}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _exists(target: Path, following: int) -> str:
    return (
        f"{target}: exists already, and a version never changes: leave version out to write "
        f"{following}"
    )
