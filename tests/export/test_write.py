"""Versions: numbered, complete or absent, never changed."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from export.write import choose_version, write
from runtime.artifact.reading import Artifact, read_artifact
from runtime.errors import ArtifactError, ExportError

pytestmark = pytest.mark.xdist_group("exported")


@pytest.fixture
def artifact(exported: Path) -> Artifact:
    return read_artifact(exported)


def test_the_next_free_version(tmp_path: Path) -> None:
    assert choose_version(tmp_path / "new", None) == 1
    for name in ("2", "9", "10", "draft", ".11-abc", "notes.txt"):
        (tmp_path / name).mkdir()
    assert choose_version(tmp_path, None) == 11
    assert choose_version(tmp_path, 3) == 3


def test_a_version_is_never_written_twice(artifact: Artifact, tmp_path: Path) -> None:
    folder = write(tmp_path, artifact)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    for attempt in (
        lambda: choose_version(tmp_path, 1),
        lambda: write(tmp_path, artifact),
    ):
        with pytest.raises(ExportError, match="exists already, and a version never changes") as e:
            attempt()
        assert "leave version out to write 2" in str(e.value)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [child.name for child in tmp_path.iterdir()] == ["1"]


def test_what_would_not_load_is_not_left_behind(artifact: Artifact, tmp_path: Path) -> None:
    damaged = {**artifact.files, "decode.onnx": artifact.files["decode.onnx"][:-1]}
    with pytest.raises(ArtifactError, match=r"decode\.onnx: expected an ONNX model"):
        write(tmp_path, replace(artifact, files=damaged))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(artifact: Artifact, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be created"):
        write(tmp_path / "file" / "name", artifact)


def test_everyone_may_read_what_was_written(exported: Path) -> None:
    assert exported.stat().st_mode & 0o777 == 0o755
    manifest = (exported / "manifest.json").read_bytes()
    stated = (exported / "manifest.sha256").read_text().strip()
    assert stated == hashlib.sha256(manifest).hexdigest()
