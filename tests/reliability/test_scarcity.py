"""A full disk, or too little memory: what was there stays whole, the message says what to do, and a
rerun goes on. The limits are the system's own, on a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime.artifact.reading import read_artifact
from tests.bento.support import ROOT
from tests.tiny import write_artifact

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits are a POSIX thing")

LIMITED = """
import resource, runpy, sys
name, size, module, *sys.argv[1:] = sys.argv[1:]
resource.setrlimit(getattr(resource, name), (int(size), int(size)))
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""

EXPORT = """
from torch import nn

import export

class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 3 * 32 * 32)

    def forward(self, latents):
        return self.layer(latents).reshape(-1, 3, 32, 32).tanh()

image = export.ImageSpec(height=32, width=32, channels=3, value_range=(-1, 1))
try:
    export.export(decode=Decoder(), latent=64, image=image, name="scarce", out={out!r})
except Exception as error:
    print(f"{{type(error).__name__}}: {{error}}")
"""


def limited(limit: str, size: int, module: str, *arguments: object) -> subprocess.CompletedProcess:
    """`python -m module` with a limit of the system on it."""
    command = [sys.executable, "-c", LIMITED, limit, str(size), module, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return write_artifact(tmp_path / "artifacts", "plain")


def test_a_full_disk_leaves_the_file_that_was_there(artifact: Path, tmp_path: Path) -> None:
    out = tmp_path / "images.npy"
    np.save(out, np.arange(3))
    options = ["sample", artifact, "-n", 1000, "--precision", "fp32", "-o", out, "--force"]
    done = limited("RLIMIT_FSIZE", 100_000, "runtime", *options)
    assert done.returncode == 2, done.stderr
    assert "InputError: out: expected room for all images (free some there" in done.stderr
    assert np.load(out).tolist() == [0, 1, 2]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["artifacts", "images.npy"]


def test_a_folder_is_continued_where_it_stopped(artifact: Path, tmp_path: Path) -> None:
    out = tmp_path / "images"
    options = ["sample", artifact, "-n", 20, "--seed", 3, "--precision", "fp32", "-o", out]
    assert limited("RLIMIT_FSIZE", 1 << 30, "runtime", *options).returncode == 0
    files = sorted(out.glob("*.png"))
    assert len(files) == 20
    whole = {path: np.asarray(Image.open(path)) for path in files}
    # As a run leaves it that was stopped after seven images.
    for path in files[7:]:
        path.unlink()
    files[0].write_bytes(b"not made again")
    assert limited("RLIMIT_FSIZE", 1 << 30, "runtime", *options, "--continue").returncode == 0
    assert files[0].read_bytes() == b"not made again"
    assert sorted(out.glob("*.png")) == files
    for path in files[1:]:
        np.testing.assert_array_equal(np.asarray(Image.open(path)), whole[path])
    # Once more, there is nothing left to do; and no other images get among these.
    assert limited("RLIMIT_FSIZE", 1 << 30, "runtime", *options, "--continue").returncode == 0
    other = limited("RLIMIT_FSIZE", 1 << 30, "runtime", *options, "--continue", "--truncation", 1)
    assert other.returncode == 2
    assert "expected a folder of the same request" in other.stderr


def test_a_cache_that_cannot_be_written_stops_nothing(artifact: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    cache = tmp_path / "cache"
    code = "import os, sys; os.environ['LATENTSERVE_CACHE'] = sys.argv.pop(1)\n" + LIMITED
    options = ["RLIMIT_FSIZE", "200", "runtime", "tune", str(artifact), "-n", "64"]
    command = [sys.executable, "-c", code, str(cache), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [p for p in cache.rglob("*") if p.is_file()] == []
    assert not out.exists()


def test_too_little_memory_is_said_in_a_line(artifact: Path, tmp_path: Path) -> None:
    # What is told of each image beside it is made at once: 1.6 GB.
    out = tmp_path / "images"
    options = ["sample", artifact, "-n", 100_000_000, "--backend", "onnxruntime", "-o", out]
    done = limited("RLIMIT_AS", 1 << 30, "runtime", *options, "--precision", "fp32")
    assert done.returncode == 2, done.stderr[-2000:]
    assert "not enough memory" in done.stderr.splitlines()[-1], done.stderr[-2000:]
    assert not list(out.glob("*.png"))


def test_a_full_disk_while_exporting(tmp_path: Path) -> None:
    first = write_artifact(tmp_path, "plain", name="scarce")
    script = EXPORT.format(out=str(tmp_path))
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({1 << 16}, {1 << 16}))\n"
    # torch writes temporary files of its own before: the limit comes after its import.
    code = script.replace("image = export.ImageSpec", limit + "image = export.ImageSpec")
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert "ExportError" in done.stdout, done.stdout + done.stderr[-2000:]
    assert "cannot be written" in done.stdout
    assert [p.name for p in first.parent.iterdir()] == ["1"]
    assert read_artifact(first).manifest.version == 1
