"""Ed25519 signatures of artifacts (RFC 8032): who made one, where checksums only find accidents.

`manifest.sig` beside the manifest is the signature, in base64, of a line that says what is signed
and the manifest's bytes; those hold the name, the version and the checksum of every other file.
Keys are PEM files, as `python -m export keys` and OpenSSL write them.
"""

import base64
import re
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import ArtifactError, InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SIGNATURE = "manifest.sig"

# Part of what is signed, so that no signature made for another purpose passes for one of these.
_CONTEXT = b"latentserve artifact, manifest.json:\n"
_PUBLIC_KEY = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


def public_keys(path: Path) -> "tuple[Ed25519PublicKey, ...]":
    """The public keys of a PEM file, one or several (an old and a new one, say).

    Raises InputError where there is none, or one of another kind.
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
    """What is signed for a manifest of these bytes."""
    return _CONTEXT + manifest


def check_signature(
    folder: Path, manifest: bytes, signature: bytes | None, keys: "tuple[Ed25519PublicKey, ...]"
) -> None:
    """ArtifactError unless one of the keys made `signature` (the file's content; None where there
    is no such file) for a manifest of these bytes."""
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
