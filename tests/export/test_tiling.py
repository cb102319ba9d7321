"""What an export says of tiles: which graphs are local, how far they look, how near tiles come."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import runtime
from export import ImageSpec, export
from export.convert import to_onnx
from export.locality import halo_of
from export.modules import GraphModule
from export.options import ExportOptions
from export.signatures import graph_specs
from runtime.artifact.manifest import Axis, Tiling
from runtime.artifact.reading import read_artifact
from tests.export.test_sizes import LATENT, Attention

IMAGE = ImageSpec(height=64, width=48, channels=3)
AXES = {
    "height": Axis(min=32, max=256, multiple_of=8, default=64),
    "width": Axis(min=32, max=256, multiple_of=8, default=48),
}


class Network(nn.Module):
    """Layers of 8 channels, between convolutions of one pixel."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 1), *layers, nn.Conv2d(8, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.layers(x))


class Do(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def conv(stride: int = 1, kernel: int = 3, **options: Any) -> nn.Conv2d:
    options = {"padding": kernel // 2} | options
    return nn.Conv2d(8, 8, kernel, stride, **options)


def resized(factor: float, mode: str, **options: Any) -> nn.Module:
    return Do(lambda x: F.interpolate(x, scale_factor=factor, mode=mode, **options))


LOCAL: dict[str, Callable[[], list[nn.Module]]] = {
    "convolutions": lambda: [conv(), conv(kernel=5, dilation=2, padding=4), conv(groups=8)],
    "down and up": lambda: [conv(2, 4, padding=1), conv(), nn.ConvTranspose2d(8, 8, 4, 2, 1)],
    "uneven padding": lambda: [
        Do(lambda x: F.pad(x, (0, 1, 0, 1))), conv(2, padding=0), resized(2.0, "nearest"), conv()
    ],
    "mirrors": lambda: [nn.ReflectionPad2d(3), conv(kernel=7, padding=0), nn.ReplicationPad2d(1),
                        conv(padding=0)],
    "pools": lambda: [nn.MaxPool2d(2), nn.AvgPool2d(3, 1, 1), resized(2.0, "bilinear")],
    "cubic": lambda: [resized(0.5, "bilinear"), conv(), resized(2.0, "bicubic")],
    "shuffles": lambda: [nn.PixelUnshuffle(2), nn.Conv2d(32, 32, 3, padding=1), nn.PixelShuffle(2)],
    "channels": lambda: [
        Do(lambda x: x * torch.softmax(x, 1) + F.layer_norm(x.movedim(1, -1), (8,)).movedim(-1, 1)),
        Do(lambda x: torch.cat([x[:, :4], x[:, 4:].mean(1, keepdim=True).expand(-1, 4, -1, -1)], 1)),
        nn.BatchNorm2d(8),
    ],
    "crop": lambda: [nn.ZeroPad2d(4), conv(), Do(lambda x: x[:, :, 4:-4, 4:-4])],
}  # fmt: skip

GLOBAL: dict[str, Callable[[], list[nn.Module]]] = {
    "instance norm": lambda: [nn.InstanceNorm2d(8)],
    "group norm": lambda: [nn.GroupNorm(4, 8)],
    "attention": lambda: [nn.AvgPool2d(4), Attention(8), resized(4.0, "nearest")],
    "squeeze and excitation": lambda: [Do(lambda x: x * x.mean((2, 3), keepdim=True).sigmoid())],
    "softmax along a row": lambda: [Do(lambda x: torch.softmax(x, 3))],
    "roll": lambda: [Do(lambda x: torch.roll(x, (2, 2), (2, 3)))],
    "flip": lambda: [Do(lambda x: x.flip(3))],
    "size": lambda: [Do(lambda x: x * (x.shape[2] / 64.0))],
    "positions": lambda: [Do(lambda x: x + torch.arange(x.shape[3]) / 64.0)],
    "blocks larger than the steps": lambda: [nn.AvgPool2d(16), resized(16.0, "nearest")],
    "aligned corners": lambda: [resized(2.0, "bilinear", align_corners=True), nn.AvgPool2d(2)],
}


def graph_of(layers: list[nn.Module]) -> tuple[bytes, Any]:
    torch.manual_seed(0)
    network = Network(*layers).eval()
    options = ExportOptions(image=IMAGE, axes=AXES, name="local", out="unused")
    spec = graph_specs(options, {"translate": network})["translate"]
    return to_onnx(GraphModule(network, spec, IMAGE.value_range), spec, AXES), spec


@pytest.mark.parametrize("name", LOCAL)
def test_the_halo_is_how_far_a_pixel_is_seen(name: str) -> None:
    data, spec = graph_of(LOCAL[name]())
    halo = halo_of(onnx.load_model_from_string(data), spec, AXES)
    assert halo is not None
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (1, 96, 96, 3), dtype=np.uint8)
    seen = 0
    for at in range(48, 56):  # all phases of what is strided
        for delta in (128, 64):
            other = images.copy()
            other[:, at, at] += np.uint8(delta)
            one, two = (session.run(None, {"images": x})[0] for x in (images, other))
            rows, columns = np.nonzero((one != two).any(axis=(0, 3)))
            if len(rows):
                seen = max(seen, np.abs(rows - at).max(), np.abs(columns - at).max())
    assert 0 <= seen <= halo
    assert halo <= 2 * seen + 8


@pytest.mark.parametrize("name", GLOBAL)
def test_what_looks_at_the_whole_image_is_not_local(name: str) -> None:
    layers = GLOBAL[name]()
    axes = {n: a.model_copy(update={"multiple_of": 16}) for n, a in AXES.items()}
    axes = AXES if "larger" in name else axes
    torch.manual_seed(0)
    network = Network(*layers).eval()
    options = ExportOptions(image=IMAGE, axes=axes, name="wide", out="unused")
    spec = graph_specs(options, {"translate": network})["translate"]
    data = to_onnx(GraphModule(network, spec, IMAGE.value_range), spec, axes)
    assert halo_of(onnx.load_model_from_string(data), spec, axes) is None


class Upscaler(nn.Module):
    """Residual blocks and a pixel shuffle: images four times as large."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(16, 16, 3, padding=1) for _ in range(4))
        self.last = nn.Conv2d(16, 48, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + F.leaky_relu(block(x), 0.2)
        return torch.tanh(F.pixel_shuffle(self.last(x), 4))


def test_a_local_translator_is_exact_at_every_size(tmp_path: Path) -> None:
    axes = {
        name: Axis(min=16, max=96, multiple_of=2, default=default)
        for name, default in (("height", 64), ("width", 48))
    }
    folder = export(translate=Upscaler(), image=IMAGE, axes=axes, name="larger", out=tmp_path)
    tiling = read_artifact(folder).manifest.graphs["translate"].tiling
    assert tiling == Tiling(exact=True, halo=8, tile=32, max_difference=tiling.max_difference,
                            mean_difference=tiling.mean_difference)  # fmt: skip
    assert tiling.max_difference is not None
    assert tiling.max_difference <= 1
    assert "exact from an edge of 32 on (it looks 8 pixels around)" in (
        folder / "README.md"
    ).read_text(encoding="utf-8")
    images = np.random.default_rng(0).integers(0, 256, (2, 90, 62, 3), dtype=np.uint8)
    with runtime.load(folder, precision="fp32") as model:
        whole = model.translate(images).astype(int)
        for tile in (32, 34, 64):
            assert np.abs(model.translate(images, tile=tile) - whole).max() <= 1
        # Too small to look far enough: blended, and no longer the same.
        assert 1 < np.abs(model.translate(images, tile=16) - whole).max()
        larger = np.concatenate([images, images], axis=1)
        made = model.translate(larger, tile=32)
        assert made.shape == (2, 720, 248, 3)
        # Far from the border between the two, as in the one.
        assert np.abs(made[:, : 4 * 80] - whole[:, : 4 * 80]).max() <= 1


class Autoencoder(nn.Module):
    """A decoder and an encoder with a norm and an attention over the image."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.down = nn.Conv2d(3, 16, 8, stride=8)
        self.middle = Attention(16)
        self.moments = nn.Conv2d(16, 8, 3, padding=1)
        self.first = nn.Conv2d(4, 16, 3, padding=1)
        self.up = nn.ConvTranspose2d(16, 3, 8, stride=8)


class Encoder(Autoencoder):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.moments(self.middle(self.down(x))).chunk(2, dim=1)


class Decoder(Autoencoder):
    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(3 * self.up(self.middle(self.first(z))))


def test_tiles_of_a_global_network_differ_as_measured(tmp_path: Path) -> None:
    folder = export(
        decode=Decoder(),
        encode=Encoder(),
        latent=LATENT,
        image=IMAGE,
        axes=AXES,
        prior="none",
        name="attending",
        out=tmp_path,
    )
    manifest = read_artifact(folder).manifest
    with runtime.load(folder, precision="fp32") as model:
        latents = np.random.default_rng(1).standard_normal((4, 4, 8, 8)).astype(np.float32)
        tiling = manifest.graphs["decode"].tiling
        assert tiling is not None
        assert (tiling.exact, tiling.halo, tiling.tile) == (False, 0, 32)
        whole = model.decode(latents)
        found = np.abs(model.decode(latents, tile=32).astype(int) - whole)
        assert tiling.max_difference is not None
        assert 0.3 < found.max() / tiling.max_difference < 3
        images = model.decode(latents)
        tiling = manifest.graphs["encode"].tiling
        assert tiling is not None
        assert (tiling.exact, tiling.tile) == (False, 32)
        assert tiling.max_difference is not None
        posterior, cut = model.encode(images), model.encode(images, tile=32)
        found = np.abs(cut.mean - posterior.mean).max()
        assert 0 < found < 10 * tiling.max_difference
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "decode in tiles | approximate" in card
    assert f"was {manifest.graphs['decode'].tiling.max_difference:.3g} grey levels" in card  # pyright: ignore


def test_graphs_of_one_size_say_nothing_of_tiles(tmp_path: Path) -> None:
    folder = export(translate=Upscaler(), image=IMAGE, name="fixed", out=tmp_path)
    assert read_artifact(folder).manifest.graphs["translate"].tiling is None
    assert "in tiles" not in (folder / "README.md").read_text(encoding="utf-8")
