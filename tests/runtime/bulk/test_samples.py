"""Samples into tars: what is in them, and that any kill leaves the same bytes."""

import io
import json
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
from runtime.bulk.samples import Samples
from runtime.requests.sample import Sample
from tests.runtime.bulk.test_jobs import OPTIONS, contents, done
from tests.tiny import write_artifact


def command(artifact: Path, out: Path, *options: object) -> list[str]:
    given = ("sample", artifact, "--shards", "-o", f"{out}/", *OPTIONS, *options)
    return [str(each) for each in given]


def samples(out: Path) -> list[tuple[Any, dict[str, Any]]]:
    """Pixels and description of every image, as a reader of WebDataset groups them: by the name up
    to its first dot, one file after another."""
    found: list[tuple[Any, dict[str, Any]]] = []
    for path in sorted(out.glob("*.tar")):
        files: dict[str, dict[str, bytes]] = {}
        with tarfile.open(path) as archive:
            for member in archive:
                key, _, kind = member.name.partition(".")
                opened = archive.extractfile(member)
                assert opened is not None
                files.setdefault(key, {})[kind] = opened.read()
        assert list(files) == [f"{len(found) + i:09d}" for i in range(len(files))]
        for each in files.values():
            pixels = np.asarray(Image.open(io.BytesIO(each["png"])))
            found.append((pixels, json.loads(each["json"])))
    return found


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_artifact(tmp_path_factory.mktemp("artifacts"), "conditional").parent


def test_every_image_is_there_with_what_made_it(artifact: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("-n", 50, "--seed", 7, "--offset", 3, "--group", 20, "--batch", 16)
    assert main(command(artifact, out, *options)) == 0
    assert sorted(path.name for path in out.glob("*.tar")) == [f"{i:06d}.tar" for i in range(3)]
    request = Sample(50, 7, 3)
    with runtime.load(artifact, backend="onnxruntime", precision="fp32") as model:
        images = model.sample(50, seed=7, offset=3)
        labels = request.chosen_labels(model.manifest)
        names = model.manifest.labels
    assert labels is not None
    assert names is not None
    found = samples(out)
    assert len(found) == 50
    for i, (pixels, about) in enumerate(found):
        assert np.abs(pixels.astype(int) - images[i]).max() <= 1
        assert about == {
            "seed": 7, "index": 3 + i, "label": names[labels[i]], "model": "tiny-conditional@1",
        }  # fmt: skip


def test_seeds_labels_and_scale(artifact: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--seeds", "4,4,9", "--labels", "two", "--scale", 3)
    assert main(command(artifact, out, *options)) == 0
    found = samples(out)
    assert [about["seed"] for _, about in found] == [4, 4, 9]
    assert {about["label"] for _, about in found} == {"two"}
    assert [about["index"] for _, about in found] == [0, 0, 0]
    assert {pixels.shape for pixels, _ in found} == {(24, 24, 3)}
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert (found[0][0] != found[2][0]).any()


def test_parquet_has_the_images_of_tars(artifact: Path, tmp_path: Path) -> None:
    options = ("-n", 50, "--seed", 7, "--group", 20)
    for kind in IMAGE_FORMATS:
        assert main(command(artifact, tmp_path / kind, *options, "--format", kind)) == 0
    shards = sorted((tmp_path / "parquet").glob("*.parquet"))
    assert [path.name for path in shards] == [f"{i:06d}.parquet" for i in range(3)]
    rows = [row for path in shards for row in pyarrow.parquet.read_table(path).to_pylist()]
    found = samples(tmp_path / "tar")
    assert len(rows) == len(found) == 50
    for i, (row, (pixels, about)) in enumerate(zip(rows, found, strict=True)):
        assert (row.pop("key"), row["image"]["path"]) == (f"{i:09d}", f"{i:09d}.png")
        image = Image.open(io.BytesIO(row.pop("image")["bytes"]))
        np.testing.assert_array_equal(np.asarray(image), pixels)
        assert row == about


def test_a_package_that_is_missing_is_named(
    artifact: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert main(command(artifact, tmp_path / "out", "-n", 5, "--format", "parquet")) == 2
    assert "pip install '.[parquet]' in" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


class StoppedError(Exception):
    """Raised by a test in the middle of a job."""


@pytest.mark.parametrize(
    ("images", "kind"), [(1, "tar"), (17, "parquet"), (33, "tar"), (49, "parquet")]
)
def test_a_stopped_job_goes_on(artifact: Path, tmp_path: Path, images: int, kind: str) -> None:
    request, left = Sample(50, 7), images

    def stop(more: int) -> None:
        nonlocal left
        left -= more
        if left <= 0:
            raise StoppedError

    with runtime.load(artifact, backend="onnxruntime", precision="fp32") as model:
        Samples(tmp_path / "whole", request, 20, format=kind).run(model)
        with pytest.raises(StoppedError):
            Samples(tmp_path / "cut", request, 20, format=kind).run(model, stop)
        assert not list((tmp_path / "cut").glob("*.part"))
        counted: list[int] = []
        ledger = Samples(tmp_path / "cut", request, 20, format=kind).run(model, counted.append)
    assert (ledger.pictures, ledger.groups, sum(counted)) == (50, 3, 50)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


@pytest.mark.parametrize("kind", IMAGE_FORMATS)
def test_a_killed_process_goes_on(artifact: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "cut"
    options = ("-n", 2000, "--seed", 7, "--group", 100, "--batch", 8, "--continue")
    options += ("--format", kind)
    assert main(command(artifact, tmp_path / "whole", *options)) == 0
    for lines in (1, 8):
        given = command(artifact, out, *options)
        process = subprocess.Popen([sys.executable, "-m", "runtime", *given])
        while process.poll() is None and done(out) < lines:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    assert done(out) < 20
    assert main(command(artifact, out, *options)) == 0
    assert contents(out) == contents(tmp_path / "whole")
    before = {path: path.stat().st_mtime_ns for path in out.glob(f"*.{kind}")}
    assert main(command(artifact, out, *options)) == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob(f"*.{kind}")} == before


def test_shards_that_are_gone_are_named(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They may have been moved to where they are used, so this is no error."""
    again = [*command(artifact, tmp_path / "out", "-n", 7), "--group", "3", "--continue"]
    assert main(again) == 0
    assert "no longer there" not in capsys.readouterr().err
    (tmp_path / "out" / "000001.tar").unlink()
    assert main(again) == 0
    assert "1 finished shards are no longer there: 000001.tar; " in capsys.readouterr().err


def test_what_differs_from_the_earlier_request_is_said_and_nothing_else(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(artifact, tmp_path / "out", "-n", 5)) == 0
    capsys.readouterr()
    assert main(command(artifact, tmp_path / "out", "-n", 6, "--continue")) == 2
    said = capsys.readouterr().err
    assert "expected a folder of the same request, n 6: another --out, or --force" in said
    assert said.endswith("of n 5\n")


def test_what_does_not_go_together_is_refused(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(command(artifact, out, "-n", 5)) == 0
    for options, words in {
        ("-n", "5"): "--continue to go on",
        ("-n", "6", "--continue"): "a folder of the same request",
        ("-n", "5", "--seed", "2", "--continue"): "a folder of the same request",
    }.items():
        assert main(command(artifact, out, *options)) == 2
        assert words in capsys.readouterr().err
    assert main(command(artifact, out, "-n", 6, "--force")) == 0
    assert len(samples(out)) == 6
    plain = command(artifact, tmp_path / "plain", "--group", 3)
    plain.remove("--shards")
    assert main(plain) == 2
    assert "--shards with it" in capsys.readouterr().err
