"""The shipped artifacts: one seed, one picture, however it is asked for."""

import json
from pathlib import Path

import numpy as np
import pytest

import runtime
from runtime import Limits, Model
from runtime.__main__ import main as command
from runtime.artifact.reading import read_artifact
from runtime.engines.backend import Setting
from runtime.engines.library import EngineRequest
from runtime.engines.openvino import precisions
from runtime.engines.registry import candidates, open_backend
from tests.artifacts.test_quality import ARTIFACTS, COLOURS, SHIPPED

LEVELS = 1  # fp32: grey levels between any two ways of asking for the same image


def assert_same_pixels(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= LEVELS


@pytest.mark.parametrize("name", SHIPPED)
def test_an_image_depends_on_its_seed_and_number_alone(name: str, tmp_path: Path) -> None:
    with runtime.load(ARTIFACTS / name, precision="fp32") as model:
        whole = model.sample(70, seed=7)
        for i in (0, 1, 63, 64, 69):
            assert_same_pixels(model.sample(1, seed=7, offset=i), whole[i : i + 1])
        assert_same_pixels(model.sample(30, seed=7, offset=40), whole[40:])
        assert_same_pixels(np.concatenate(list(model.stream(70, seed=7))), whole)
        assert_same_pixels(model.sample(seeds=[3, 7])[1:], whole[:1])
        latents = model.latents(70, seed=7)
        assert model.latents(2, seed=7, offset=63).tobytes() == latents[63:65].tobytes()
    with runtime.load(
        ARTIFACTS / name, precision="fp32", limits=Limits(batch=5, runners=3)
    ) as model:
        assert_same_pixels(model.sample(70, seed=7), whole)
    out = tmp_path / "images.npy"
    options = ["--precision", "fp32", "-n", "10", "--seed", "7", "--offset", "60", "-o", str(out)]
    assert command(["sample", str(ARTIFACTS / name), *options]) == 0
    assert_same_pixels(np.load(out), whole[60:])


@pytest.mark.parametrize("name", SHIPPED)
def test_the_card_states_data_steps_time_machine_and_figures(name: str) -> None:
    with runtime.load(ARTIFACTS / name, precision="fp32") as model:
        manifest = model.manifest
    details, figures = manifest.provenance.details, manifest.provenance.figures
    assert {"data", "data_checksum", "steps", "seconds", "machine"} <= details.keys()
    assert figures
    assert manifest.licence
    decode = next(row for row in manifest.parity if row.graph == "decode")
    assert decode.images_std is not None
    assert decode.images_std >= 20
    card = (ARTIFACTS / name / str(manifest.version) / "README.md").read_text("utf-8")
    assert all(f"| {figure} |" in card for figure in figures)


def test_together_they_are_small() -> None:
    files = [file for file in ARTIFACTS.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 60e6
    manifests = [json.loads(file.read_text()) for file in files if file.name == "manifest.json"]
    assert {manifest["name"] for manifest in manifests} == {*SHIPPED, COLOURS}


@pytest.mark.parametrize("name", SHIPPED)
def test_engines_and_graph_forms_agree(name: str, tmp_path: Path) -> None:
    """Whatever `load` chooses on some machine, fp32 is the same picture."""
    artifact = read_artifact(ARTIFACTS / name)
    expected = None
    for variant in candidates(artifact, EngineRequest("auto", "fp32", "cpu"), tmp_path):
        backend = open_backend(artifact, variant, Setting(1, 1, 64), tmp_path)
        with Model(artifact, backend, runners=1, batch=64) as model:
            images = model.sample(70, seed=11)
        expected = images if expected is None else expected
        assert_same_pixels(images, expected)


@pytest.mark.skipif("bf16" not in precisions(), reason="no bf16 on this CPU")
@pytest.mark.parametrize("name", SHIPPED)
def test_bf16_keeps_to_its_tolerance(name: str, tmp_path: Path) -> None:
    manifest = read_artifact(ARTIFACTS / name).manifest
    if "bf16" in manifest.left_out:
        # Too far off when the artifact was exported, and so it is here.
        with pytest.raises(runtime.EngineError, match="pixels outside the tolerance"):
            runtime.load(ARTIFACTS / name, precision="bf16", cache=tmp_path)
        return
    if "bf16" not in manifest.graphs[manifest.main_graph].files:
        pytest.skip("bf16 was not tried when it was exported")
    with runtime.load(ARTIFACTS / name, precision="bf16", cache=tmp_path) as model:
        images = model.sample(250, seed=11)
    with runtime.load(ARTIFACTS / name, backend="onnxruntime", precision="fp32") as model:
        levels = np.abs(images.astype(int) - model.sample(250, seed=11))
    assert levels.mean() <= 0.5
    assert levels.max() <= 4
