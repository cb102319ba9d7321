"""Style mixing: in the library, on the command line and over HTTP."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from bento.repository.models import Models
from export import export, export_stylegan
from export.families.stylegan import StyleGAN, StyleOptions
from runtime import InputError, Model
from runtime.__main__ import main
from runtime.images import ImageSpec
from runtime.images.encoding import decode_npy
from runtime.sampling.streams import Counter
from tests.bento.support import ask_async, loaded
from tests.style import LATENT, LAYERS, OPTIONS, Synthesis, grey_levels, networks, noise_of

pytestmark = pytest.mark.xdist_group("mixing")


class OneStyle(Synthesis):
    """Takes one style for all layers: there is nothing to mix."""

    def forward(self, ws: torch.Tensor, *noise: torch.Tensor, gain: float = 1.0) -> Any:
        return super().forward(ws[:, None].expand(-1, LAYERS, -1), *noise, gain=gain)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    given: dict[str, Any] = {"latent": LATENT, "out": folder, "batches": (1, 8)}
    mapping, synthesis = networks()
    export_stylegan(mapping, synthesis, OPTIONS, name="mixes", **given)
    one = StyleOptions(mapping_arguments={"c": None}, synthesis_arguments={"gain": 2.0})
    same = OneStyle()
    same.load_state_dict(synthesis.state_dict())
    export_stylegan(mapping, same, one, name="plain", **given)
    return folder


@pytest.fixture(scope="module")
def models(folder: Path) -> Iterator[Models]:
    with loaded(folder) as models:
        yield models


@pytest.fixture(scope="module")
def model(models: Models) -> Model:
    return models.get("mixes")


def ask(models: Models, **body: Any) -> httpx.Response:
    body = {"model": "mixes", "format": "npy", **body}
    return asyncio.run(ask_async(models, "POST", "/sample", json=body))


def same(images: Any, others: Any) -> bool:
    return bool(np.abs(images.astype(int) - others).max() <= 1)


@pytest.mark.parametrize("layer", [1, 2])
def test_layers_from_one_on_have_the_styles_of_the_other_seed(model: Model, layer: int) -> None:
    images = model.sample(3, seed=5, offset=2, truncation=0.7, mix_seed=8, mix_layer=layer)
    mapping, synthesis = networks()
    module = StyleGAN(mapping, synthesis, OPTIONS, (LATENT,))
    latents = [torch.from_numpy(model.latents(3, seed=seed, offset=2)) for seed in (5, 8)]
    with torch.inference_mode():
        own, other = (module.styles(each, None) for each in latents)
        styles = torch.cat((own[:, :layer], other[:, layer:]), dim=1)
        styles = module.mean + 0.7 * (styles - module.mean)
        expected = grey_levels(synthesis(styles, *noise_of(Counter(5, 2, 3)), gain=2.0)[0])
    assert same(images, expected)
    assert not same(images, model.sample(3, seed=5, offset=2, truncation=0.7))


def test_where_no_layer_is_mixed_nothing_changes(models: Models, model: Model) -> None:
    images = model.sample(4, seed=5)
    assert np.array_equal(images, model.sample(4, seed=5, mix_seed=8, mix_layer=LAYERS))
    assert same(images, models.get("plain").sample(4, seed=5))


def test_a_style_is_mixed_into_the_images_of_many_seeds(model: Model) -> None:
    images = model.sample(seeds=[3, 4], mix_seed=9, mix_layer=1)
    for image, seed in zip(images, (3, 4), strict=True):
        alone = model.sample(1, seed=seed, mix_seed=9, mix_layer=1)
        assert same(image[None], alone)


def test_the_same_over_http_and_on_the_command_line(
    models: Models, model: Model, folder: Path, tmp_path: Path
) -> None:
    expected = model.sample(2, seed=5, mix_seed=8, mix_layer=1)
    reply = ask(models, n=2, seed=5, mix_seed=8, mix_layer=1)
    assert same(decode_npy(reply.content), expected)
    out = tmp_path / "images.npy"
    command = ["sample", str(folder / "mixes"), "-n", "2", "--seed", "5", "-o", str(out)]
    command += ["--precision", "fp32"]
    assert main([*command, "--mix-seed", "8", "--mix-layer", "1"]) == 0
    assert same(np.load(out), expected)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "layer alone": ({"mix_layer": 1}, "mix_seed"),
    "seed alone": ({"mix_seed": 1}, "mix_layer"),
    "layer": ({"mix_seed": 1, "mix_layer": 101}, "mix_layer"),
    "seed": ({"mix_seed": -1, "mix_layer": 1}, "mix_seed"),
    "network": ({"mix_seed": 1, "mix_layer": 1, "model": "plain"}, "mix_seed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_mixed_is_refused_by_name(models: Models, case: str) -> None:
    body, field = REFUSED[case]
    reply = ask(models, n=1, seed=0, **body)
    assert (reply.status_code, reply.json()["field"]) == (422, field)
    asked = dict(body)
    with pytest.raises(InputError, match=field):
        models.get(asked.pop("model", "mixes")).sample(1, seed=0, **asked)


def test_a_truncation_reaches_the_network_on_the_way_between_seeds(
    models: Models, model: Model
) -> None:
    body = {"model": "mixes", "seeds": [3, 4], "steps": 3, "truncation": 0.3, "format": "npy"}
    reply = asyncio.run(ask_async(models, "POST", "/interpolate", json=body))
    a, b = model.latents(seeds=[3, 4])
    expected = model.interpolate(a, b, 3, truncation=0.3)
    assert same(decode_npy(reply.content), expected)
    assert not same(expected, model.interpolate(a, b, 3))


def test_a_second_latent_is_of_the_first_ones_shape_and_has_a_layer(tmp_path: Path) -> None:
    class Decoder(torch.nn.Linear):
        def forward(self, z: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
            other, layer = others
            mixed = torch.where(layer[:, None] > 0, z, other)
            return torch.tanh(super().forward(mixed)).view(-1, 3, 2, 2)

    path = export(
        decode=Decoder(4, 12),
        latent=4,
        image=ImageSpec(height=2, width=2, channels=3),
        takes_mixing=True,
        name="own",
        out=tmp_path,
        batches=(1, 4),
    )
    manifest = (path / "manifest.json").read_text()
    assert '"mixing_latents"' in manifest
    assert '"mixing_layer"' in manifest
