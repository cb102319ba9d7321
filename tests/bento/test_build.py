"""`bentoml build` makes a Bento that serves its artifacts from an empty folder."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import httpx

from benchmarks.speed.servers import bentoml_serve, running
from tests.bento.support import FP32, ROOT
from tests.tiny import write_artifact


def test_a_bento_serves_from_an_empty_folder(tmp_path: Path) -> None:
    # Without uv, BentoML would install it into this environment, from the network.
    assert shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    source, home, empty = (tmp_path / name for name in ("source", "home", "empty"))
    for folder in ("bento", "runtime", "train", "tests"):
        shutil.copytree(
            ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / file, source / file)
    write_artifact(source / "artifacts", "vae")
    (source / "artifacts" / "secret.pem").write_text("a private key")
    home.mkdir()
    empty.mkdir()

    environment = {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    done = subprocess.run(
        [sys.executable, "-m", "bentoml", "build", "--output", "tag"],
        cwd=source,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (built,) = (home / "bentos" / "latentserve").glob("*/src")
    packed = {path.name for path in built.iterdir()}
    assert {"bento", "runtime", "artifacts"} <= packed
    assert not packed & {"train", "tests"}
    assert not list(built.rglob("*.pem"))
    needed = (built.parent / "env" / "python" / "requirements.txt").read_text("utf-8")
    assert {"onnxruntime", "numpy", "bentoml"} <= {
        line.partition(">")[0].partition("=")[0] for line in needed.split()
    }

    shutil.rmtree(source)
    built_service = bentoml_serve("latentserve:latest", environment={**environment, **FP32})
    with running(replace(built_service, folder=empty)) as server:
        reply = httpx.post(f"{server.url}/sample", json={"seed": 1})
        assert reply.headers["x-model"] == "tiny-vae@1"
