"""Keys, signing, and what a signature keeps out: from the command line to the service."""

import shutil
from pathlib import Path

import pytest

from bento.repository.models import Models
from bento.settings import Settings
from export.__main__ import main as export_main
from runtime import ArtifactError, load
from runtime.__main__ import main as runtime_main
from runtime.artifact.reading import read_artifact
from runtime.artifact.signing import SIGNATURE
from tests.tiny import rewrite_manifest, write_artifact


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A private key, and the public one."""
    private = tmp_path / "secret.pem"
    assert export_main(["keys", str(private)]) == 0
    return private, tmp_path / "secret.pub.pem"


@pytest.fixture
def signed(tmp_path: Path, keys: tuple[Path, Path]) -> Path:
    folder = write_artifact(tmp_path / "artifacts", "plain")
    assert export_main(["sign", str(folder), "--key", str(keys[0])]) == 0
    return folder


def test_a_signed_artifact_is_verified(
    signed: Path, keys: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert runtime_main(["verify", str(signed), "--key", str(keys[1])]) == 0
    assert f"signed by a key in {keys[1]}" in capsys.readouterr().out
    with load(signed, signed_by=keys[1]) as model:
        assert len(model.sample(1, seed=0)) == 1
    # Whoever has no key loads it as before.
    assert read_artifact(signed).manifest.name == "tiny-plain"


def test_keys_without_a_name_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert export_main(["keys", ""]) == 2
    assert "ExportError: expected the name of a new file" in capsys.readouterr().err


def test_signing_again_gives_the_same_signature(signed: Path, keys: tuple[Path, Path]) -> None:
    first = (signed / SIGNATURE).read_bytes()
    assert export_main(["sign", str(signed), "--key", str(keys[0])]) == 0
    assert (signed / SIGNATURE).read_bytes() == first


def test_a_rewritten_manifest_is_refused(signed: Path, keys: tuple[Path, Path]) -> None:
    # Checksums made true again, as an attacker would.
    rewrite_manifest(signed, licence="stolen")
    assert read_artifact(signed).manifest.licence == "stolen"
    with pytest.raises(ArtifactError, match=r"manifest.sig: the signature is by none"):
        read_artifact(signed, signed_by=keys[1])


def test_the_signature_of_another_artifact_is_refused(
    signed: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    other = write_artifact(tmp_path / "artifacts", "vae")
    shutil.copy(signed / SIGNATURE, other)
    with pytest.raises(ArtifactError, match="the signature is by none"):
        read_artifact(other, signed_by=keys[1])


@pytest.mark.parametrize("content", [b"", b"!", b"AAAA", bytes(64), b"A" * 2000])
def test_damaged_signatures(signed: Path, keys: tuple[Path, Path], content: bytes) -> None:
    (signed / SIGNATURE).write_bytes(content)
    with pytest.raises(ArtifactError, match=SIGNATURE):
        read_artifact(signed, signed_by=keys[1])


def test_every_flipped_bit_of_a_signature_counts(signed: Path, keys: tuple[Path, Path]) -> None:
    whole = (signed / SIGNATURE).read_bytes()
    for position in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << bit
            (signed / SIGNATURE).write_bytes(damaged)
            with pytest.raises(ArtifactError, match=SIGNATURE):
                read_artifact(signed, signed_by=keys[1])


def test_a_signature_by_another_key_is_replaced_when_asked(
    signed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export_main(["keys", str(tmp_path / "other.pem")]) == 0
    before = (signed / SIGNATURE).read_bytes()
    again = ["sign", str(signed), "--key", str(tmp_path / "other.pem")]
    assert export_main(again) == 2
    assert "exists, by another key: --force to replace it" in capsys.readouterr().err
    assert (signed / SIGNATURE).read_bytes() == before
    assert export_main([*again, "--force"]) == 0
    told = capsys.readouterr()
    verify = f"next: latentserve verify {signed} --key {tmp_path / 'other.pub.pem'}\n"
    assert told.err.endswith(verify)
    read_artifact(signed, signed_by=tmp_path / "other.pub.pem")


def test_an_unsigned_artifact_says_what_to_do(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    folder = write_artifact(tmp_path / "artifacts", "plain")
    with pytest.raises(ArtifactError, match=r"expected a signature \(`python -m export sign`\)"):
        read_artifact(folder, signed_by=keys[1])


def test_a_linked_signature_is_refused(signed: Path, keys: tuple[Path, Path]) -> None:
    (signed / SIGNATURE).rename(signed.parent / "elsewhere")
    (signed / SIGNATURE).symlink_to(signed.parent / "elsewhere")
    with pytest.raises(ArtifactError, match="expected a plain file, found a link"):
        read_artifact(signed, signed_by=keys[1])


def test_several_keys_in_one_file(signed: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    assert export_main(["keys", str(tmp_path / "other.pem")]) == 0
    other = tmp_path / "other.pub.pem"
    with pytest.raises(ArtifactError, match="by none of the given keys"):
        read_artifact(signed, signed_by=other)
    both = tmp_path / "both.pem"
    both.write_bytes(other.read_bytes() + keys[1].read_bytes())
    read_artifact(signed, signed_by=both)


def test_keys_are_private_and_never_overwritten(
    keys: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    before = keys[0].read_bytes()
    assert keys[0].stat().st_mode & 0o077 == 0
    assert export_main(["keys", str(keys[0])]) == 2
    assert "exists: a key is never overwritten" in capsys.readouterr().err
    assert keys[0].read_bytes() == before


def test_no_private_key_is_left_without_its_public_one(tmp_path: Path) -> None:
    (tmp_path / "a.pub.pem").touch()
    assert export_main(["keys", str(tmp_path / "a.pem")]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.pub.pem"]


@pytest.mark.parametrize("content", [b"", b"no key", None])
def test_unusable_keys(
    signed: Path, tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "bad.pem"
    if content is not None:
        key.write_bytes(content)
    assert export_main(["sign", str(signed), "--key", str(key)]) == 2
    assert "expected a PEM file with an Ed25519 private key" in capsys.readouterr().err
    assert runtime_main(["verify", str(signed), "--key", str(key)]) == 2
    assert "expected a PEM file with Ed25519 public keys" in capsys.readouterr().err


def test_a_key_of_another_kind(signed: Path, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = generate_private_key(SECP256R1()).public_key()
    path = tmp_path / "ec.pem"
    path.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert runtime_main(["verify", str(signed), "--key", str(path)]) == 2


def test_the_service_serves_signed_artifacts_only(signed: Path, keys: tuple[Path, Path]) -> None:
    write_artifact(signed.parents[1], "vae")
    models = Models(Settings(artifacts=signed.parents[1], precision="fp32", signed_by=keys[1]))
    models.load()
    try:
        assert [model.manifest.name for model in models] == ["tiny-plain"]
        (failed,) = models.failed
        assert failed.name == "tiny-vae"
        assert "expected a signature" in failed.error
        assert str(signed.parents[1]) not in failed.error
    finally:
        models.close()
