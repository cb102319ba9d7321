"""The folders together: train, export, load, sample, serve; each by its own command."""

import asyncio
import io
from pathlib import Path

import numpy as np
import pytest

import runtime
from bento.repository.models import Models
from bento.settings import Settings
from export.__main__ import main as export
from runtime.__main__ import main as sample
from runtime.images.encoding import decode_npy
from tests.bento.support import ask_async
from train.__main__ import main as train

pytestmark = pytest.mark.xdist_group("whole-path")

LEVELS = 1  # fp32: grey levels between any two ways of asking for the same image


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run, out = str(folder / "run"), str(folder / "artifacts")
    # Scikit-learn's digits come with the package: no data set is needed.
    assert train(["digits_vae", "--out", run, "--steps", "150", "--device", "cpu"]) == 0
    assert export(["run", run, "--out", out]) == 0
    return Path(out)


def test_what_was_trained_is_what_is_served(artifacts: Path, tmp_path: Path) -> None:
    with runtime.load(artifacts / "digits-vae") as model:
        expected = model.sample(20, seed=7)
        assert expected.std() > 20
    out = tmp_path / "images.npy"
    command = ["sample", str(artifacts / "digits-vae"), "-n", "12", "--seed", "7"]
    assert sample([*command, "--offset", "8", "-o", str(out)]) == 0
    assert np.abs(np.load(out).astype(int) - expected[8:]).max() <= LEVELS

    models = Models(Settings(artifacts=artifacts))
    models.load()
    try:
        body = {"n": 5, "seed": 7, "offset": 3, "format": "npy"}
        reply = asyncio.run(ask_async(models, "POST", "/sample", json=body))
    finally:
        models.close()
    assert reply.status_code == 200
    assert reply.headers["x-model"] == "digits-vae@1"
    assert np.abs(decode_npy(reply.content).astype(int) - expected[3:8]).max() <= LEVELS


def test_the_provenance_tells_how_it_was_made(artifacts: Path) -> None:
    with runtime.load(artifacts / "digits-vae") as model:
        provenance = model.manifest.provenance
    assert provenance.source == "python -m train digits_vae"
    assert provenance.details["steps"] == 150
    assert provenance.figures["test_loss"] > 0


def test_no_file_of_an_artifact_is_a_pickle(artifacts: Path) -> None:
    for file in (artifacts / "digits-vae" / "1").iterdir():
        data = file.read_bytes()
        assert not data.startswith(b"\x80"), file.name
        if file.suffix == ".npz":
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                assert all(not arrays[name].dtype.hasobject for name in arrays.files)
