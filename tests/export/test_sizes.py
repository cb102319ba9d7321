"""Exports of any size: named axes, noise and truncation inputs, translators, no prior."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import runtime
from export import ImageSpec, export
from runtime import InputError
from runtime.artifact.manifest import Axis
from runtime.artifact.reading import read_artifact
from runtime.errors import ExportError

pytestmark = pytest.mark.xdist_group("sizes")

AXES = {
    "height": Axis(min=16, max=128, multiple_of=8, default=32),
    "width": Axis(min=16, max=128, multiple_of=8, default=48),
}
IMAGE = ImageSpec(height=32, width=48, channels=3)
LATENT = (4, "height / 8", "width / 8")


class Attention(nn.Module):
    """One head over all positions, as between an autoencoder's middle blocks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2)[:, None].chunk(3, dim=-1)
        mixed = F.scaled_dot_product_attention(q, k, v)[:, 0]
        return x + self.out(mixed.transpose(1, 2).reshape(batch, channels, height, width))


class Decoder(nn.Module):
    """Latents [B, 4, H/8, W/8] -> images [B, 3, H, W]."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(4, width, 3, padding=1)
        self.middle = Attention(width)
        self.ups = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.middle(self.first(z))
        for up in self.ups:
            x = F.silu(up(F.interpolate(x, scale_factor=2.0, mode="nearest")))
        return torch.tanh(3 * self.last(x))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(3, 8, 8, stride=8)

    def forward(self, x: Tensor) -> list[Tensor]:
        return list(self.conv(x).chunk(2, dim=1))


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(
        decode=Decoder(),
        encode=Encoder(),
        latent=LATENT,
        image=IMAGE,
        axes=AXES,
        prior="none",
        name="any-size",
        out=tmp_path_factory.mktemp("sizes"),
        precisions=("fp16",),
    )


@pytest.mark.parametrize("size", [(32, 48), (16, 16), (64, 96), (128, 40)])
def test_every_size_is_the_modules(autoencoder: Path, size: tuple[int, int]) -> None:
    with runtime.load(autoencoder, precision="fp32") as model:
        latents = np.random.default_rng(0).standard_normal((3, 4, size[0] // 8, size[1] // 8))
        images = model.decode(latents)
        with torch.inference_mode():
            floats = Decoder().eval()(torch.from_numpy(latents.astype(np.float32))).numpy()
        expected = np.rint((floats.transpose(0, 2, 3, 1) + 1) * 127.5)
        assert images.shape == (3, *size, 3)
        assert np.abs(images - expected).max() <= 1
        posterior = model.encode(images)
        assert posterior.mean.shape == latents.shape
        assert model.reconstruct(images).shape == images.shape


def test_the_manifest_describes_sizes_prior_and_parity(autoencoder: Path) -> None:
    manifest = read_artifact(autoencoder).manifest
    assert manifest.axes == AXES
    assert manifest.prior == "none"
    assert manifest.latent is not None
    assert manifest.latent.shape == LATENT
    assert {row.graph for row in manifest.parity} == {"decode", "encode"}
    with runtime.load(autoencoder) as model:
        with pytest.raises(InputError, match="another model makes"):
            model.sample(1, seed=0)
        with pytest.raises(InputError, match="latents: expected"):
            model.decode(np.zeros((1, 4, 1, 3), np.float32))  # 8 pixels high


class Noisy(nn.Module):
    """Labels, a truncation and two noise inputs behind the latents."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.mapping = nn.Linear(6, 3 * 4 * 4)
        self.classes = nn.Embedding(3, 3 * 4 * 4)

    def forward(
        self, z: Tensor, labels: Tensor, truncation: Tensor, coarse: Tensor, fine: Tensor
    ) -> Tensor:
        w = self.mapping(z) * truncation[:, None] + self.classes(labels)
        x = w.view(-1, 3, 4, 4) + coarse
        return torch.tanh(F.interpolate(x, scale_factor=2.0) + 0.3 * fine)


def test_noise_labels_and_truncation(tmp_path: Path) -> None:
    folder = export(
        decode=Noisy(),
        latent=6,
        image=ImageSpec(height=8, width=8, channels=3),
        labels=("a", "b", "c"),
        takes_truncation=True,
        noise=[(1, 4, 4), (1, 8, 8)],
        name="noisy",
        out=tmp_path,
        precisions=(),
    )
    with runtime.load(folder) as model:
        images = model.sample(9, seed=3, labels="b", truncation=0.5)
        alone = model.sample(1, seed=3, offset=8, labels="b", truncation=0.5)
        assert np.abs(images[8:].astype(int) - alone).max() <= 1
        inputs = runtime.Sample(9, 3, labels="b", truncation=0.5).inputs(model)
        assert list(inputs) == ["latents", "labels", "truncation", "noise_0", "noise_1"]
        with torch.inference_mode():
            floats = Noisy()(*(torch.from_numpy(array.copy()) for array in inputs.values()))
        expected = np.rint((floats.numpy().transpose(0, 2, 3, 1) + 1) * 127.5)
        assert np.abs(images - expected).max() <= 1
        a, b = model.latents(seeds=[1, 2])
        way = model.interpolate(a, b, 4, labels="b")
        assert np.abs(way[0].astype(int) - model.decode(a[None], "b")[0]).max() <= 1


class Upscaler(nn.Module):
    """Images and a mask -> images twice as large."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.conv = nn.Conv2d(4, 12, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return torch.tanh(F.pixel_shuffle(self.conv(torch.cat([x, mask], 1)), 2))


def test_a_translator(tmp_path: Path) -> None:
    folder = export(
        translate=Upscaler(), image=IMAGE, axes=AXES, takes_mask=True, name="upscaler", out=tmp_path
    )
    manifest = read_artifact(folder).manifest
    made = manifest.graphs["translate"].outputs[0]
    assert made.shape == ("2 * height", "2 * width", 3)
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 24, 3), dtype=np.uint8)
    mask = np.full((3, 16, 24, 1), 255, np.uint8)
    with runtime.load(folder, precision="fp32") as model:
        found = model.translate(images, mask=mask)
        with pytest.raises(InputError, match="model: expected one with a decoder"):
            model.sample(1, seed=0)
    with torch.inference_mode():
        floats = torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1
        expected = Upscaler()(floats, torch.ones(3, 1, 16, 24)).permute(0, 2, 3, 1)
    assert np.abs(found - np.rint((expected.numpy() + 1) * 127.5)).max() <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axes": {**AXES, "height": AXES["width"]}}, "expected the default to be that of the"),
        ({"latent": (4, "depth / 8", 4)}, "depth"),
        ({"latent": (4, "height / 16", "width / 8")}, "multiple of 16"),
        ({"latent": (5, "height / 8", "width / 8")}, "decode: the module failed on latents"),
    ],
)
def test_axes_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    options: dict[str, Any] = {"latent": LATENT, "image": IMAGE, "axes": AXES} | changes
    with pytest.raises(ExportError, match=message):
        export(decode=Decoder(), name="wrong", out=tmp_path, precisions=(), **options)
    assert not (tmp_path / "wrong" / "1").exists()


class Placed(nn.Module):
    """Knows where each pixel is, as CoordConv does."""

    def __init__(self, evenly: Callable[[Tensor, int], Tensor]) -> None:
        super().__init__()
        self.evenly = evenly
        self.last = nn.Conv2d(5, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        down = self.evenly(x, 2)[:, None].expand(batch, 1, height, width)
        right = self.evenly(x, 3).expand(batch, 1, height, width)
        return torch.tanh(self.last(torch.cat([x, down, right], 1)))


ANY = {"height": Axis(min=16, max=128, default=32), "width": Axis(min=16, max=128, default=48)}


def translates_as(network: nn.Module, artifact: Path) -> None:
    """At a size that no export looked at."""
    images = np.random.default_rng(0).integers(0, 256, (1, 37, 51, 3), np.uint8)
    with runtime.load(artifact, precision="fp32") as model, torch.no_grad():
        made = model.translate(images)
        expected = network(torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1)
    grey = ((expected + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
    assert np.abs(made.astype(int) - grey).max() <= 1


def test_a_size_frozen_into_the_graph_says_what_to_write(tmp_path: Path) -> None:
    frozen = Placed(lambda x, axis: torch.linspace(-1, 1, x.shape[axis]))
    free = Placed(lambda x, axis: torch.arange(x.shape[axis]) / (x.shape[axis] - 1) * 2 - 1)
    words = r"for any height, width, found one for height 16, width 17: .* torch\.arange"
    given: dict[str, Any] = {"image": IMAGE, "axes": ANY, "out": tmp_path, "precisions": ()}
    with pytest.raises(ExportError, match=words):
        export(translate=frozen, name="frozen", **given)
    free.load_state_dict(frozen.state_dict())
    artifact = export(translate=free, name="free", batches=(1,), **given)
    translates_as(frozen, artifact)


class Cached(nn.Module):
    """Keeps what it made for the last size, as positional encodings are kept."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(4, 3, 3, padding=1)
        self.rows: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.rows is None or self.rows.shape[-2:] != x.shape[-2:]:
            height, width = x.shape[-2:]
            rows = torch.arange(height)[:, None] / height
            self.rows = rows.expand(height, width)[None, None]
        return torch.tanh(self.layer(torch.cat([x, self.rows.expand(len(x), -1, -1, -1)], dim=1)))


def test_what_a_forward_keeps_of_one_size_is_not_in_the_graph(tmp_path: Path) -> None:
    network = Cached()
    given: dict[str, Any] = {"image": IMAGE, "axes": ANY, "out": tmp_path, "precisions": ()}
    artifact = export(translate=network, name="cached", batches=(1,), **given)
    translates_as(network, artifact)


class Gridded(nn.Module):
    """The size of the grid is a constant where torch captures it."""

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        corners = torch.eye(2, 3).expand(batch, -1, -1)
        grid = F.affine_grid(corners, [batch, channels, height, width], align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)


def test_a_graph_that_fails_at_another_size_says_what_to_write(tmp_path: Path) -> None:
    given: dict[str, Any] = {"image": IMAGE, "axes": AXES, "out": tmp_path, "precisions": ()}
    with pytest.raises(ExportError, match=r"the graph fails on images .* F\.affine_grid"):
        export(translate=Gridded(), name="gridded", **given)


class Padded(nn.Module):
    """Brings any size to multiples of 8, and cuts that off again."""

    def __init__(self, rest: Callable[[Any], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rest = rest
        self.down, self.up = nn.Conv2d(3, 8, 8, 8), nn.ConvTranspose2d(8, 3, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        padded = F.pad(x, (0, self.rest(width), 0, self.rest(height)), mode="replicate")
        return torch.tanh(padded + self.up(self.down(padded)))[..., :height, :width]


def test_padding_that_torch_cannot_keep_free_says_what_to_write(tmp_path: Path) -> None:
    given: dict[str, Any] = {"image": IMAGE, "axes": ANY, "out": tmp_path, "precisions": ()}
    with pytest.raises(ExportError, match=r"for -w % 8 write \(8 - w % 8\) % 8"):
        export(translate=Padded(lambda side: -side % 8), name="padded", **given)
    network = Padded(lambda side: (8 - side % 8) % 8)
    artifact = export(translate=network, name="padded", batches=(1,), **given)
    translates_as(network, artifact)
