"""Reading an artifact: everything is verified and held as bytes before it is used.

The engine gets the very bytes that were hashed, so nothing can change between check and use.
Checksums find accidents, not attackers: whoever can write the folder can rewrite them. Signatures
find attackers (`runtime.artifact.signing`).
"""

import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import ValidationError

from runtime.artifact.bounds import Bounds
from runtime.artifact.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    MANIFEST_DIGEST,
    PRIOR,
    SHEET,
    Manifest,
)
from runtime.artifact.prior import Mixture
from runtime.artifact.signing import SIGNATURE, check_signature, public_keys
from runtime.errors import ArtifactError, InputError
from runtime.images.encoding import decode_npy

ARTIFACTS_VARIABLE = "LATENTSERVE_ARTIFACTS"
"""Environment variable naming the folder where bare artifact names are looked up."""

_MAX_FILE_BYTES = 2 << 30
_MAX_MANIFEST_BYTES = 4 << 20
_MAX_NPZ_BYTES = 256 << 20
_NAMES_SHOWN = 12
"""Of the artifacts there, in an error."""
_MAX_SHEET_BYTES = 16 << 20


@dataclass(frozen=True)
class Artifact:
    """A verified artifact in memory: its manifest, the bytes of every file it lists, and the
    manifest's own (none while it is not written yet)."""

    folder: Path
    manifest: Manifest
    files: dict[str, bytes]
    manifest_bytes: bytes = b""
    bounds: Mapping[str, Bounds] = field(default_factory=dict[str, Bounds])
    """What a run of each graph costs."""

    @property
    def prior(self) -> Mixture | None:
        """The mixture that its latents are drawn from; None: N(0, I). Raises ArtifactError if it is
        not valid."""
        return self._prior

    @property
    def sheet(self) -> bytes | None:
        """A PNG of samples, where it has one."""
        data = self.files.get(SHEET, b"")
        return data if data.startswith(b"\x89PNG") and len(data) <= _MAX_SHEET_BYTES else None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the manifest, which holds that of every file."""
        return hashlib.sha256(self.manifest_bytes).hexdigest()

    # Apart: a `cached_property` is no property to a protocol such as `Described`.
    @cached_property
    def _prior(self) -> Mixture | None:
        latent = self.manifest.latent
        if self.manifest.prior != "gaussian_mixture" or latent is None:
            return None
        return Mixture.of(read_npz(self.files[PRIOR], PRIOR), latent.values())


def artifacts_root() -> Path:
    """The folder of artifacts: $LATENTSERVE_ARTIFACTS, or `artifacts/` in the current folder."""
    return Path(os.environ.get(ARTIFACTS_VARIABLE) or "artifacts")


def find_artifact(artifact: str | Path) -> Path:
    """The version folder meant by a path (`…/name`, `…/name/3`) or a bare `name`, `name@3`.

    A name without a version takes the highest one. Raises ArtifactError where there is none.
    """
    path = Path(artifact)
    try:
        if not path.exists():
            name, _, version = str(artifact).partition("@")
            path = artifacts_root() / name / version
        if (path / MANIFEST).is_file():
            return path
        versions = numbered_versions(path)
    except (OSError, ValueError) as error:  # too long, a NUL in it, or no permission to look
        why = f"expected the path or the name of an artifact ({error})"
        raise ArtifactError(repr(str(artifact))[:200], why) from None
    if not versions:
        raise ArtifactError(artifact, _instead(artifact))
    return path / str(max(versions))


def _instead(artifact: str | Path) -> str:
    """What could have been meant by a path or name that is no artifact."""
    root = artifacts_root()
    name, _, version = str(artifact).partition("@")
    there = numbered_versions(root / name) if name else []
    if version and there:
        named = ", ".join(f"{name}@{number}" for number in there)
        return f"no version {version} of {name} in {root}: expected {named}"
    names = [folder.name for folder in artifact_folders(root)]
    near = get_close_matches(Path(name).name, names, n=1)
    shown = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
    told = f"did you mean {near[0]}? " if near else ""
    told += f"there: {shown}; `latentserve list` tells more" if names else "none is there"
    return (
        f"expected an artifact (a folder with {MANIFEST}, or with numbered versions of one), "
        f"or a name under {root} (set {ARTIFACTS_VARIABLE} to look elsewhere): {told}"
    )


def artifacts_of(artifact: str | Path) -> Path:
    """The folder of artifacts that this one is in: what the service would be given."""
    return find_artifact(artifact).parent.parent


def numbered_versions(folder: Path) -> list[int]:
    """The versions of one artifact: its sub-folders with whole numbers for names, ascending."""
    try:
        names = [child.name for child in folder.iterdir() if child.is_dir()]
    except OSError:  # none, or none that may be read
        return []
    return sorted(int(n) for n in names if n.isascii() and n.isdecimal() and str(int(n)) == n)


def artifact_folders(root: Path) -> list[Path]:
    """The folders under `root` that hold versions of an artifact, sorted by name."""
    if not root.is_dir():
        return []
    return sorted(folder for folder in root.iterdir() if numbered_versions(folder))


def read_artifact(artifact: str | Path, *, signed_by: str | Path | None = None) -> Artifact:
    """Read and verify a whole artifact; raises ArtifactError naming the file and the reason.

    Checked: the manifest's digest and schema, that the folder holds exactly the files the
    manifest lists (no links, no sub-folders), every file's SHA-256, every graph's operators, sizes,
    inputs and outputs (`runtime.artifact.graph`), and the prior's mixture where there is one. With
    `signed_by`, a PEM file of public keys, also that one of them signed it; without, a signature
    is not looked at.
    """
    from runtime.artifact.graph import check_graph

    head = read_head(artifact, signed_by=signed_by)
    folder, manifest = head.folder, head.manifest
    expected = {MANIFEST, MANIFEST_DIGEST, *manifest.files}
    try:
        found = {child.name for child in folder.iterdir()} - {SIGNATURE}
    except OSError as error:  # not to be listed, or removed meanwhile
        raise ArtifactError(folder, f"cannot be listed: {error.strerror}") from error
    if found != expected:
        missing, extra = sorted(expected - found), sorted(found - expected)
        raise ArtifactError(
            folder,
            f"expected exactly the files of the manifest; missing {missing}, not listed {extra}",
        )
    files: dict[str, bytes] = {}
    for name, digest in manifest.files.items():
        data = _read_plain(folder / name, _MAX_FILE_BYTES)
        actual = hashlib.sha256(data).hexdigest()
        if actual != digest:
            raise ArtifactError(
                folder / name,
                f"expected SHA-256 {digest}, found {actual}: the file is damaged, copy it again",
            )
        files[name] = data
    sizes = (manifest.default_size, manifest.smallest_size)
    bounds: dict[str, Bounds] = {}
    for name, graph in manifest.graphs.items():
        for spec in graph.specs:
            model = check_graph(files[spec.file], spec, sizes, manifest.max_batch)
            if spec.precision == "fp32":
                bounds[name] = Bounds(model, spec)
    verified = Artifact(folder, manifest, files, head.manifest_bytes, bounds)
    _ = verified.prior  # raises where it is damaged
    return verified


def read_head(artifact: str | Path, *, signed_by: str | Path | None = None) -> Artifact:
    """An artifact's manifest alone, verified as by `read_artifact`: it has the checksums of all
    files, but none of the files is looked at."""
    folder = find_artifact(artifact)
    signed = _read_plain(folder / MANIFEST, _MAX_MANIFEST_BYTES)
    if signed_by is not None:
        path = folder / SIGNATURE
        there = path.is_symlink() or path.exists()
        signature = _read_plain(path, 1024) if there else None
        check_signature(folder, signed, signature, public_keys(Path(signed_by)))
    manifest = _parse_manifest(folder, signed)
    if folder.name.isdecimal() and folder.name != str(manifest.version):
        raise ArtifactError(
            folder, f"expected version {folder.name} as the folder says, found {manifest.version}"
        )
    return Artifact(folder, manifest, {}, signed)


def _parse_manifest(folder: Path, data: bytes) -> Manifest:
    stated = _read_plain(folder / MANIFEST_DIGEST, 1024).decode("ascii", "replace")
    actual = hashlib.sha256(data).hexdigest()
    if stated.removesuffix("\n") != actual:
        raise ArtifactError(
            folder / MANIFEST,
            f"expected SHA-256 {stated.strip()} ({MANIFEST_DIGEST}), found {actual}",
        )
    try:
        stated_format = json.loads(data).get("format_version")
    except (ValueError, AttributeError, RecursionError):
        stated_format = FORMAT_VERSION  # the schema's own message says what is wrong
    if stated_format == 1:
        raise ArtifactError(
            folder / MANIFEST,
            f"format 1 is no longer read, expected format {FORMAT_VERSION}: export it again",
        )
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise ArtifactError(folder / MANIFEST, f"{where}: {reason}" if where else reason) from error


def _read_plain(path: Path, limit: int) -> bytes:
    if path.is_symlink() or not path.is_file():
        kind = "a link" if path.is_symlink() else "none" if not path.exists() else "not a file"
        raise ArtifactError(path, f"expected a plain file, found {kind}")
    try:
        if path.stat().st_size > limit:
            raise ArtifactError(
                path, f"expected at most {limit} bytes, found {path.stat().st_size}"
            )
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(path, f"cannot be read: {error.strerror}") from error


def read_npz(data: bytes, file: str) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz`, no pickles, bounded in size before anything is unpacked."""
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            total = sum(info.file_size for info in archive.infolist())
            if total > _MAX_NPZ_BYTES:
                raise ArtifactError(
                    file, f"unpacks to {total} bytes, at most {_MAX_NPZ_BYTES} allowed"
                )
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                arrays[name] = decode_npy(archive.read(info), info.filename)
    except InputError as error:
        raise ArtifactError(file, f"expected an .npz of plain arrays, found: {error}") from error
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError) as error:
        # RuntimeError: encrypted members; NotImplementedError is one of its kinds.
        raise ArtifactError(file, f"expected an .npz of plain arrays, found: {error}") from error
    return arrays
