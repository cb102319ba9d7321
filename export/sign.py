"""Signing artifacts: a key pair, and the signature that `runtime.artifact.signing` checks."""

import base64
import os
from pathlib import Path

from runtime.artifact.reading import read_artifact
from runtime.artifact.signing import SIGNATURE, signed_bytes
from runtime.errors import ExportError
from runtime.writing import write_whole


def make_keys(private: Path) -> Path:
    """Write a new Ed25519 key pair: `private`, readable by its owner alone, and the public key
    beside it (`name.pem` -> `name.pub.pem`), whose path is returned. Never overwrites."""
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not private.name:
        raise ExportError(f"expected the name of a new file, found {str(private)!r}")
    public = private.with_suffix(".pub.pem")
    for path in (private, public):  # both, before one of them is written
        if path.exists():
            raise ExportError(f"{path}: exists: a key is never overwritten: choose another name")
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    shared = key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
    for path, data, mode in ((private, secret, 0o600), (public, shared, 0o644)):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except OSError as error:
            raise ExportError(f"{path}: cannot be written: {error.strerror}") from error
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    return public


def sign(artifact: str | Path, key: Path, *, force: bool = False) -> Path:
    """Verify an artifact, then write its signature by the private key in the PEM file `key`.

    Returns the signature's path. The artifact itself does not change; one by another key is
    replaced with `force` alone.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    expected = "expected a PEM file with an Ed25519 private key without a passphrase"
    try:
        private = load_pem_private_key(key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ExportError(f"{key}: {expected}, found: {error}") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise ExportError(f"{key}: {expected}, found {type(private).__name__}")
    verified = read_artifact(artifact)
    signature = private.sign(signed_bytes(verified.manifest_bytes))
    path, content = verified.folder / SIGNATURE, base64.b64encode(signature) + b"\n"
    try:
        if path.exists() and path.read_bytes() != content and not force:
            raise ExportError(f"{path}: exists, by another key: --force to replace it")
        write_whole(path, content)
    except OSError as error:
        raise ExportError(f"{path}: cannot be written: {error.strerror}") from error
    return path
