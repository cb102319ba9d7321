"""The service on Ray Serve gives what it gives elsewhere. Needs the extra `ray`."""

import base64
import json
import os
from pathlib import Path

import numpy as np
import pytest

from bento.repository.models import Models
from runtime.images.encoding import decode_npy
from tests.apart import can_be_apart, run_apart
from tests.bento.support import FP32
from tests.tiny import write_artifact

pytest.importorskip("ray.serve", reason="no Ray Serve: install the extra `ray`")

KEY = "a-key-of-sixteen-or-more"


@pytest.mark.skipif(not can_be_apart(), reason="no network namespace (unshare) for Ray here")
def test_ray_serve_gives_the_same_images(models: Models, tmp_path: Path) -> None:
    write_artifact(tmp_path / "artifacts", "plain", version=2)
    environment = {
        **{name: value for name, value in os.environ.items() if "LATENTSERVE" not in name},
        **FP32,
        "LATENTSERVE_ARTIFACTS": str(tmp_path / "artifacts"),
        "LATENTSERVE_CACHE": str(tmp_path / "cache"),
        "LATENTSERVE_API_KEY": KEY,
    }
    command = ("python", "-m", "tests.bento.ray_local", KEY)
    done = run_apart(*command, environment=environment, home=tmp_path, seconds=220)
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"npy')))
    for name, count in (("npy", 4), ("streamed", 300)):
        images = decode_npy(base64.b64decode(told[name])).astype(int)
        expected = models.get("tiny-plain").sample(count, seed=7)
        assert np.abs(images - expected).max() <= 1
    assert told["model"] == "tiny-plain@2"
    assert told["readyz"] == {"status": "ready"}
    assert told["refused"]["field"] == "n"
    assert told["unknown"] == 401
