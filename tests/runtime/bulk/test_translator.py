"""Translation of data sets: what is in the shards, and that any kill leaves the same bytes."""

import io
import json
import random
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

import runtime
from runtime.__main__ import main
from runtime.bulk.formats import IMAGE_FORMATS
from runtime.bulk.sources import find
from runtime.images import fit, open_image, upright_size
from runtime.requests.pictures import picture_spec
from tests.runtime.bulk.conftest import DAMAGED, PICTURES
from tests.runtime.bulk.test_jobs import OPTIONS, contents
from tests.sized import write_sized


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sized(tmp_path_factory.mktemp("translator"), masked=False)


def command(artifact: Path, source: Path, out: Path, *options: object) -> list[str]:
    given = ("translate", artifact, source, "--shards", "-o", f"{out}/", *OPTIONS, *options)
    return [str(each) for each in given]


def made(out: Path) -> dict[str, tuple[bytes, dict[str, Any]]]:
    """Key -> PNG and description, in the order of the tars."""
    found: dict[str, tuple[bytes, dict[str, Any]]] = {}
    for path in sorted(out.glob("*.tar")):
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            for picture, about in zip(members[::2], members[1::2], strict=True):
                key = picture.name.removesuffix(".png").replace("%2E", ".").replace("%25", "%")
                files = [archive.extractfile(each) for each in (picture, about)]
                data = [file.read() for file in files if file is not None]
                found[key] = data[0], json.loads(data[1])
    return found


def test_each_picture_keeps_its_key_its_place_and_its_size(
    artifact: Path, pictures: Path, tmp_path: Path
) -> None:
    given = ("--tile", 32, "--group", 25)
    assert main(command(artifact, pictures, tmp_path, *given)) == 0
    found, items = made(tmp_path), list(find([pictures]).items)
    assert list(found) == [item.key for item in items if item.key != DAMAGED]
    with runtime.load(artifact, backend="onnxruntime", precision="fp32") as model:
        for item in items[:20:4]:
            image = open_image(item.read(1 << 20))
            size = upright_size(image)
            spec = picture_spec(model.manifest, "translate", None, size, 32)
            expected = model.translate(fit(image, spec)[None], tile=32)[0]
            png, about = found[item.key]
            pixels = np.asarray(Image.open(io.BytesIO(png)))
            assert pixels.shape == (2 * size[0], 2 * size[1], 3)
            assert np.abs(pixels.astype(int) - expected).max() <= 1
            height, width = pixels.shape[:2]
            assert about == {"width": width, "height": height, "model": "tiny-sized@1"}
    (skipped,) = (tmp_path / "skipped.jsonl").read_text().splitlines()
    assert json.loads(skipped)["key"] == DAMAGED


def test_tars_and_parquet_have_the_same(
    artifact: Path, pictures: Path, tar: Path, tmp_path: Path
) -> None:
    for name, source, kind in (("a", tar, "tar"), ("b", pictures, "parquet")):
        given = ("--size", "16x24", "--format", kind)
        assert main(command(artifact, source, tmp_path / name, *given)) == 0
    table = pyarrow.parquet.read_table(tmp_path / "b" / "000000.parquet")
    rows = {row.pop("key"): row for row in table.to_pylist()}
    found = made(tmp_path / "a")
    assert list(rows) == list(found)
    for key, (png, about) in found.items():
        assert (rows[key].pop("image")["bytes"], rows[key]) == (png, about)
        assert (about["height"], about["width"]) == (32, 48)


def test_a_picture_that_is_too_large_is_skipped(
    artifact: Path, pictures: Path, tmp_path: Path
) -> None:
    """Without tiles a picture is worked on whole: which ones fit does not depend on the memory."""
    assert main(command(artifact, pictures, tmp_path)) == 0
    found = made(tmp_path)
    for item in find([pictures]).items:
        if item.key != DAMAGED:
            size = upright_size(open_image(item.read(1 << 20)))
            assert (item.key in found) == (max(size) <= 64)
    text = (tmp_path / "skipped.jsonl").read_text()
    assert text.count("or --tile") == PICTURES - 1 - len(found) > 0


@pytest.mark.parametrize("kind", IMAGE_FORMATS)
def test_a_killed_process_goes_on(
    artifact: Path, pictures: Path, tmp_path: Path, kind: str
) -> None:
    rng, out, killed = random.Random(kind), tmp_path / "cut", 0
    options = ("--tile", "32", "--group", "20", "--format", kind, "--continue")
    assert main(command(artifact, pictures, tmp_path / "whole", *options)) == 0
    for _ in range(3):
        given = command(artifact, pictures, out, *options)
        process = subprocess.Popen([sys.executable, "-m", "runtime", *given])
        open_groups, until = out / ".open", rng.randrange(2, 15)
        seen: set[str] = set()
        while process.poll() is None and len(seen) < until:
            seen |= {str(file) for file in open_groups.glob("*/*")}
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        killed += process.wait(60) == -signal.SIGKILL
    assert killed
    assert main(command(artifact, pictures, out, *options)) == 0
    assert contents(out) == contents(tmp_path / "whole")


def test_what_does_not_go_together_is_refused(
    artifact: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for options, words in {
        ("--format", "webp"): "for shards one of tar, parquet",
        ("--mask", "a.png"): "none with --shards",
        ("--tile", "7"): "tile: expected",
        ("--labels", "1"): "labels: expected",
    }.items():
        assert main(command(artifact, pictures, out, *options)) == 2
        assert words in capsys.readouterr().err
        assert not out.exists()
    plain = command(artifact, pictures, out, "--format", "tar")
    plain.remove("--shards")
    assert main(plain) == 2
    assert "for pictures one of png" in capsys.readouterr().err
