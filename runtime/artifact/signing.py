"""Ed25519 signatures of artifacts (RFC 8032): they show who made one; checksums do not.

`manifest.sig`, beside the manifest, holds the signature in base64. The signed bytes are a line that
names the purpose, and then the bytes of the manifest, which hold the name, the version and the
checksum of every other file. Keys are PEM files, as written by `python -m export keys` and OpenSSL.
"""

import base64
import re
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import ArtifactError, InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SIGNATURE = "manifest.sig"

# Part of the signed bytes, so that a signature made for another purpose is never valid here.
_CONTEXT = b"latentserve artifact, manifest.json:\n"
_PUBLIC_KEY = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


def public_keys(path: Path) -> "tuple[Ed25519PublicKey, ...]":
    """The public keys of a PEM file: one or several, for example an old and a new one.

    Raises InputError if there is none, or if one is of another kind.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    expected = "a PEM file with Ed25519 public keys"
    try:
        blocks = _PUBLIC_KEY.findall(path.read_bytes())
        keys = [load_pem_public_key(block) for block in blocks]
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise InputError("key", expected, f"{path} ({error})") from error
    if not keys:
        raise InputError("key", expected, f"no public key in {path}")
    for key in keys:
        if not isinstance(key, Ed25519PublicKey):
            raise InputError("key", expected, f"{type(key).__name__} in {path}")
    return tuple(key for key in keys if isinstance(key, Ed25519PublicKey))


def signed_bytes(manifest: bytes) -> bytes:
    """The bytes to sign for a manifest of these bytes."""
    return _CONTEXT + manifest


def check_signature(
    folder: Path, manifest: bytes, signature: bytes | None, keys: "tuple[Ed25519PublicKey, ...]"
) -> None:
    """Raise ArtifactError unless one of the keys signed a manifest of these bytes. `signature` is
    the content of the file, or None if there is no such file."""
    from cryptography.exceptions import InvalidSignature

    path = folder / SIGNATURE
    if signature is None:
        raise ArtifactError(path, "expected a signature (`python -m export sign`), found none")
    encoded = signature.removesuffix(b"\n")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except ValueError:
        raw = b""
    if not raw or base64.b64encode(raw) != encoded:
        raise ArtifactError(path, "expected a signature in base64, found something else")
    for key in keys:
        try:
            key.verify(raw, signed_bytes(manifest))
        except InvalidSignature:
            continue
        return
    raise ArtifactError(path, "the signature is by none of the given keys, or the manifest changed")
