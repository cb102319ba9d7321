"""StyleGANs: two networks become one decoder, sampled by seed, label and truncation."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

import runtime
from export import ExportError, export_stylegan
from export.__main__ import main
from export.families.stylegan import MEAN_LATENTS, StyleGAN, StyleOptions
from export.modules.draws import GivenNormals
from runtime.artifact.reading import read_artifact
from runtime.errors import InputError
from runtime.sampling.streams import Counter, Stream, normals
from tests import style
from tests.style import (
    CLASSES,
    LATENT,
    LAYERS,
    OPTIONS,
    SHAPES,
    Mapping,
    Synthesis,
    grey_levels,
    networks,
    noise_of,
)

pytestmark = pytest.mark.xdist_group("stylegan")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_stylegan(
        *networks(),
        OPTIONS,
        latent=LATENT,
        name="style",
        out=tmp_path_factory.mktemp("artifacts"),
        batches=(1, 8),
    )


@pytest.mark.parametrize("truncation", [None, 0.5])
def test_sampled_images_are_those_of_the_two_networks(
    artifact: Path, truncation: float | None
) -> None:
    mapping, synthesis = networks()
    counter = Counter(7, 3, 5)
    with runtime.load(artifact, backend="onnxruntime", precision="fp32") as model:
        images = model.sample(5, seed=7, offset=3, truncation=truncation)
        latents = torch.from_numpy(model.latents(5, seed=7, offset=3))
        alone = model.sample(1, seed=7, offset=4, truncation=truncation)
    every = normals(Counter(0, 0, MEAN_LATENTS), Stream.LATENT, LATENT)
    with torch.inference_mode():
        mean = mapping(torch.from_numpy(every), None).mean(0)
        styles = mean + (truncation or 1.0) * (mapping(latents, None) - mean)
        styles = styles[:, None].expand(-1, LAYERS, -1)
        expected = grey_levels(synthesis(styles, *noise_of(counter), gain=2.0)[0])
    assert expected.std() > 20
    assert np.abs(images.astype(int) - expected).max() <= 1
    assert np.abs(images[1:2].astype(int) - alone).max() <= 1


def test_drawn_noise_becomes_inputs_with_streams_of_their_own(artifact: Path) -> None:
    decode = read_artifact(artifact).manifest.graphs["decode"]
    assert [t.shape for t in decode.inputs if t.role == "noise"] == SHAPES
    roles = [t.role for t in decode.inputs if t.role != "noise"]
    assert roles == ["latents", "truncation", "mixing_latents", "mixing_layer"]


def test_what_a_module_draws_is_given_in_order() -> None:
    first, second, third, fourth = torch.randn(4, 2, 4)
    means, deviations = torch.rand(2, 2, 4)
    with GivenNormals([first, second, third, fourth, first]) as drawn:
        assert torch.equal(torch.randn(2, 4), first)
        assert torch.equal(torch.randn_like(first), second)
        filled = torch.empty(2, 4)
        assert filled.normal_(1.0, std=2.0) is filled
        torch.testing.assert_close(filled, 1 + 2 * third)
        made = torch.normal(means, deviations)
        torch.testing.assert_close(made, means + deviations * fourth)
        torch.testing.assert_close(torch.normal(3.0, 2.0, (2, 4)), 3 + 2 * first)
        assert torch.randn(5).shape == (5,)
    assert drawn.shapes == [*[(2, 4)] * 5, (5,)]


def test_truncation_moves_images_towards_that_of_the_mean_style(artifact: Path) -> None:
    with runtime.load(artifact, backend="onnxruntime", precision="fp32") as model:
        latents = model.latents(16, seed=1)
        spread = [
            float(model.decode(latents, seed=1, truncation=t).astype(float).std(axis=0).mean())
            for t in (0.01, 0.5, 1.0)
        ]
    assert spread[0] < spread[1] < spread[2]


def test_only_layers_below_the_cutoff_are_truncated() -> None:
    mapping, synthesis = networks()
    options = StyleOptions(layers=LAYERS, truncation_cutoff=1, mapping_arguments={"c": None})
    module = StyleGAN(mapping, synthesis, options, (LATENT,))
    latents = torch.randn(2, LATENT)
    seen: list[Tensor] = []
    module.synthesis.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.inference_mode():
        noise = [torch.zeros(2, *shape) for shape in SHAPES]
        module(latents, torch.tensor([0.5, 1.0]), latents, torch.tensor([9.0, 9.0]), *noise)
        whole = module.styles(latents, None)
    half = module.mean + 0.5 * (whole[0] - module.mean)
    torch.testing.assert_close(seen[0][0, :1], half[:1])
    torch.testing.assert_close(seen[0][0, 1:], whole[0, 1:], rtol=0, atol=0)
    torch.testing.assert_close(seen[0][1], whole[1], rtol=0, atol=0)


def test_labels_and_given_noise(tmp_path: Path) -> None:
    mapping, synthesis = networks(len(CLASSES))
    artifact = export_stylegan(
        mapping,
        synthesis,
        StyleOptions(layers=LAYERS, one_hot=True),
        latent=LATENT,
        labels=CLASSES,
        noise=SHAPES,
        name="labelled",
        out=tmp_path,
        batches=(1, 4),
    )
    with runtime.load(artifact, backend="onnxruntime", precision="fp32") as model:
        images = model.sample(seeds=[4, 9], labels=["fox", "cat"])
        latents = torch.from_numpy(model.latents(seeds=[4, 9]))
    with torch.inference_mode():
        styles = mapping(latents, F.one_hot(torch.tensor([2, 0]), 3).float())
        styles = styles[:, None].expand(-1, LAYERS, -1)
        expected = grey_levels(synthesis(styles, *noise_of(Counter.of_seeds([4, 9])))[0])
    assert np.abs(images.astype(int) - expected).max() <= 1


def test_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both networks from one file, as a checkpoint of the whole generator holds them."""
    monkeypatch.setitem(sys.modules, "mynets", style)
    mapping, synthesis = networks()
    whole = nn.ModuleDict({"mapping": mapping, "synthesis": synthesis})
    weights = tmp_path / "generator.safetensors"
    save_file(whole.state_dict(), weights)
    arguments = ["stylegan", "mynets:Mapping", "mynets:Synthesis", "--name", "mine"]
    arguments += ["--mapping-weights", str(weights), "--synthesis-weights", str(weights)]
    arguments += ["--mapping-arguments", '{"c": null}', "--layers", str(LAYERS)]
    arguments += ["--latent", str(LATENT), "--truncation-cutoff", "2", "--batches", "1,4"]
    assert main([*arguments, "--out", str(tmp_path / "out"), "--precisions", "none"]) == 0
    assert str(tmp_path / "out/mine/1") in capsys.readouterr().out
    manifest = read_artifact(tmp_path / "out/mine").manifest
    assert manifest.image().shape == (16, 16, 3)
    assert manifest.graphs["decode"].input("truncation") is not None
    details = manifest.provenance.details
    assert len(details["mapping weights SHA-256"]) == 64
    assert details["mean style"] == "of 10,000 latents of seed 0"
    assert details["layers with a style"] == "3"


class WithoutBatch(Synthesis):
    def forward(self, ws: Tensor, *noise: Tensor, gain: float = 1.0) -> Any:
        x, _ = super().forward(ws, *(torch.zeros(len(ws), *shape) for shape in SHAPES))
        return x + torch.randn(1, 1, 16, 16)


class Flat(Mapping):
    def forward(self, z: Tensor, c: Tensor | None) -> Tensor:
        return super().forward(z, c).flatten()


PLAIN = StyleOptions(mapping_arguments={"c": None})
NO_LAYER = StyleOptions(layers=LAYERS, truncation_cutoff=4, mapping_arguments={"c": None})
REFUSED: dict[str, tuple[type[nn.Module], type[nn.Module], StyleOptions, int, str]] = {
    "argument": (Mapping, Synthesis, StyleOptions(), 0, "mapping: failed on .* missing 1 required"),
    "styles": (
        Flat,
        Synthesis,
        OPTIONS,
        0,
        r"mapping: expected styles \[500, w\] or \[500, 3, w\]",
    ),
    "layers": (Mapping, Synthesis, PLAIN, 0, "synthesis: failed on .* say `layers`"),
    "noise": (Mapping, Synthesis, OPTIONS, 1, "synthesis: failed on .* shapes of its `noise`"),
    "one noise": (Mapping, WithoutBatch, OPTIONS, 0, r"\[B, ...\] of its own .* \[1, 1, 16, 16\]"),
    "cutoff": (Mapping, Synthesis, NO_LAYER, 0, "truncation_cutoff: expected a layer .* found 4"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_says_what_was_expected(case: str, tmp_path: Path) -> None:
    mapping, synthesis, options, noise, message = REFUSED[case]
    with pytest.raises(ExportError, match=message):
        export_stylegan(
            mapping(),
            synthesis(),
            options,
            latent=LATENT,
            noise=SHAPES[:noise],
            name="refused",
            out=tmp_path,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_truncation_is_a_number_above_0(artifact: Path) -> None:
    with (
        runtime.load(artifact, backend="onnxruntime", precision="fp32") as model,
        pytest.raises(InputError, match="truncation: expected a number above 0"),
    ):
        model.sample(1, seed=0, truncation=0.0)
