"""Encoders without a posterior: one latent an image, with codes where there is a codebook."""

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

import runtime
from export import ExportError, ImageSpec, export
from runtime.artifact.golden import differences
from runtime.artifact.reading import read_artifact
from runtime.engines import measuring
from runtime.engines.onnxruntime import open_reference

LATENT = (4, 4, 4)


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 2, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images)


class Quantising(Plain):
    """The nearest entry of a codebook for every position (van den Oord et al. 2017, eq. 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.book = nn.Parameter(torch.randn(16, 4))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        flat = self.layer(images).permute(0, 2, 3, 1)
        codes = (flat[..., None, :] - self.book).square().sum(-1).argmin(-1)
        return self.book[codes].permute(0, 3, 1, 2), codes


def decoder() -> nn.Module:
    return nn.Sequential(nn.ConvTranspose2d(4, 3, 2, 2), nn.Tanh())


def exported(tmp_path: Path, encoder: nn.Module, **options: Any) -> Path:
    torch.manual_seed(0)
    return export(
        decode=decoder(),
        encode=encoder,
        latent=LATENT,
        image=ImageSpec(height=8, width=8, channels=3),
        name="coded",
        out=tmp_path,
        **options,
    )


def pictures() -> runtime.images.UInt8Array:
    return np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3), np.uint8)


def floats(images: runtime.images.UInt8Array) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2) * (2 / 255) - 1


class Gaussian(nn.Module):
    """Gives a distribution of torch's, as many do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 8, 2, 2)

    def forward(self, images: Tensor) -> Independent:
        mean, log_std = self.layer(images).chunk(2, dim=1)
        return Independent(Normal(mean, log_std.exp()), 3)


def test_the_mean_and_log_variance_of_a_distribution(tmp_path: Path) -> None:
    torch.manual_seed(1)
    encoder = Gaussian()
    with runtime.load(exported(tmp_path, encoder), backend="onnxruntime") as model:
        encoded = model.encode(pictures())
    assert isinstance(encoded, runtime.Posterior)
    with torch.no_grad():
        expected = encoder(floats(pictures()))
    assert np.allclose(encoded.mean, expected.mean.numpy(), atol=1e-5)
    assert np.allclose(encoded.log_variance, expected.variance.log().numpy(), atol=1e-5)


def test_without_a_variance_none_is_invented(tmp_path: Path) -> None:
    torch.manual_seed(1)
    encoder = Plain()
    with runtime.load(exported(tmp_path, encoder, encode_gives=("latents",))) as model:
        encoded = model.encode(pictures())
        assert isinstance(encoded, runtime.Encoding)
        assert encoded.codes is None
        assert list(encoded.arrays()) == ["latents"]
        expected = encoder(floats(pictures())).detach().numpy()
        assert np.allclose(encoded.latents, expected, atol=1e-5)
        assert (model.reconstruct(pictures()) == model.decode(encoded.latents)).all()
        with pytest.raises(runtime.InputError, match="seed: expected none: this encoder draws"):
            model.encode(pictures(), seed=3)


def test_codes_are_those_of_the_codebook(tmp_path: Path) -> None:
    torch.manual_seed(2)
    encoder = Quantising()
    gives = {"encode_gives": ("latents", "codes"), "codes": LATENT[1:]}
    with runtime.load(exported(tmp_path, encoder, **gives)) as model:
        encoded: Any = model.encode(pictures())
        latents, codes = encoder(floats(pictures()))
        assert encoded.codes is not None
        assert encoded.codes.dtype == np.int64
        assert (encoded.codes == codes.numpy()).all()
        assert np.allclose(encoded.latents, latents.detach().numpy(), atol=1e-6)


def test_engines_are_compared_on_latents_of_the_codebook(tmp_path: Path) -> None:
    encoder = Quantising()
    gives = {"encode_gives": ("latents", "codes"), "codes": LATENT[1:]}
    artifact = read_artifact(exported(tmp_path, encoder, **gives))
    with closing(open_reference(artifact)) as reference:
        inputs = measuring._inputs(artifact, reference, 0, 5)
    entries = np.moveaxis(inputs["latents"], 1, -1).reshape(-1, 4)
    distances = np.abs(entries[:, None] - encoder.book.detach().numpy()).max(-1)
    assert distances.min(-1).max() < 1e-6


def test_codes_of_another_shape_are_refused(tmp_path: Path) -> None:
    gives = {"encode_gives": ("latents", "codes"), "codes": (16,)}
    with pytest.raises(ExportError, match=r"codes: expected integers of shape \[16, 16\]"):
        exported(tmp_path, Quantising(), **gives)
    assert not list(tmp_path.rglob("*.onnx"))


def test_few_other_codes_count_as_equal(tmp_path: Path) -> None:
    gives = {"encode_gives": ("latents", "codes"), "codes": LATENT[1:]}
    spec = read_artifact(exported(tmp_path, Quantising(), **gives)).manifest.graphs["encode"]
    codes = np.zeros((200, 4, 4), np.int64)
    latents = np.zeros((200, *LATENT), np.float32)
    other, moved = codes.copy(), latents.copy()
    other[0, 1, 2], moved[0, :, 1, 2] = 7, 3.0
    expected = {"latents": latents, "codes": codes}
    found = differences(spec, {"latents": moved, "codes": other}, expected)
    assert found["codes"].max() == 0
    assert found["latents"].max() == 0
    moved[0, 0, 3, 3] = 0.5  # where the codes agree, nothing is forgiven
    assert differences(spec, {"latents": moved, "codes": other}, expected)["latents"].max() == 0.5
    other[1:9] = 7
    assert differences(spec, {"latents": moved, "codes": other}, expected)["codes"].max() == 7


class Deviating(Plain):
    """Gives a variance for its logarithm."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore
        latents = self.layer(images)
        return latents, latents.exp()


def test_a_variance_for_its_logarithm_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exported(tmp_path, Deviating())
    assert "of these give the logarithm, variance.log() or 2 * std.log()" in caplog.text
