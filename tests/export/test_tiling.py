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
from export.modules.source import TorchSource
from export.options import ExportOptions
from export.signatures import graph_specs
from export.tiles.locality import halo_of
from runtime.artifact.manifest import Axis
from runtime.artifact.reading import read_artifact
from runtime.artifact.tensors import GraphSpec, TensorSpec
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
    "convolutions": lambda: [
        conv(kernel=5, dilation=2, padding=4),
        conv(2, 4, padding=1),
        nn.ConvTranspose2d(8, 8, 4, 2, 1),
        Do(lambda x: F.pad(x, (0, 1, 0, 1))),  # uneven, as in AutoencoderKL
        conv(2, padding=0),
        resized(2.0, "nearest"),
        conv(groups=8),
    ],
    "borders": lambda: [
        nn.ReflectionPad2d(3),
        conv(kernel=7, padding=0),
        nn.ReplicationPad2d(1),
        conv(padding=0),
        nn.ZeroPad2d(4),
        conv(),
        Do(lambda x: x[:, :, 4:-4, 4:-4]),
    ],
    "sizes": lambda: [
        nn.MaxPool2d(2),
        nn.AvgPool2d(3, 1, 1),
        resized(2.0, "bilinear"),
        resized(0.5, "bilinear"),
        resized(2.0, "bicubic"),
        nn.PixelUnshuffle(2),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.PixelShuffle(2),
    ],
    "channels": lambda: [
        Do(lambda x: x * torch.softmax(x, 1)),
        Do(lambda x: F.layer_norm(x.movedim(1, -1), (8,)).movedim(-1, 1)),
        Do(lambda x: torch.cat([x[:, :4], x[:, 4:].mean(1, True).expand(-1, 4, -1, -1)], 1)),
        nn.BatchNorm2d(8),
    ],
}


@pytest.mark.parametrize("name", LOCAL)
def test_the_halo_is_how_far_a_pixel_is_seen(name: str) -> None:
    torch.manual_seed(0)
    source = TorchSource(Network(*LOCAL[name]()))
    options = ExportOptions(image=IMAGE, axes=AXES, name="local", out="unused")
    spec = graph_specs(options, {"translate": source})["translate"]
    data = source.network("translate", spec, options).to_onnx(AXES)
    halo = halo_of(onnx.load_model_from_string(data), spec, AXES)
    assert halo is not None
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), dtype=np.uint8)
    plain = np.asarray(session.run(None, {"images": images})[0])
    seen = 0
    for at in range(48, 56):  # all phases of what is strided
        for delta in (128, 64):
            other = images.copy()
            other[:, at, at] += np.uint8(delta)
            made = np.asarray(session.run(None, {"images": other})[0])
            rows, columns = np.nonzero((made != plain).any(axis=(0, 3)))
            seen = max([seen, *np.abs(rows - at), *np.abs(columns - at)])
    assert 0 <= seen <= halo
    assert halo <= 2 * seen + 8


GLOBAL = {
    "instance norm": "y = InstanceNormalization (x, channels, channels)",
    "group norm": "y = GroupNormalization <num_groups = 8> (x, channels, channels)",
    "global pool": "p = GlobalAveragePool (x) y = Mul (x, p)",
    "mean": "p = ReduceMean (x, image_axes) y = Sub (x, p)",
    "softmax along a row": "y = Softmax <axis = 3> (x)",
    "attention along columns": "t = Transpose <perm = [0, 1, 3, 2]> (x) s = MatMul (x, t) "
    "y = MatMul (s, x)",
    "flattened": "f = Reshape (x, flat) s = Shape (x) y = Reshape (f, s)",
    "roll": "a = Slice (x, one, last, three) b = Slice (x, zero, one, three) "
    "y = Concat <axis = 3> (a, b)",
    "flip": "y = Slice (x, last, first, three, back)",
    "size": "s = Shape <start = 3> (x) f = Cast <to = 1> (s) y = Mul (x, f)",
    "blocks larger than the steps": "p = AveragePool <kernel_shape = [16, 16], strides = [16, 16]> "
    '(x) y = Resize <mode = "nearest"> (p, , scales16)',
    "aligned corners": 'p = Resize <mode = "linear", coordinate_transformation_mode = '
    '"align_corners"> (x, , scales2) y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (p)',
    "wrapped": 'p = Pad <mode = "wrap"> (x, pads) y = MaxPool <kernel_shape = [3, 3]> (p)',
    "places": "m, places = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x) "
    "f = Cast <to = 1> (places) y = Add (m, f)",
    "places alone": "m, places = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x) "
    "y = Cast <to = 1> (places)",
    "unknown": "y = Trilu (x)",
}
_GRAPH = """<ir_version: 10, opset_import: ["" : 21]>
graph (float[batch, 8, height, width] x) => (float[batch, 8, height, width] y)
<float[8] channels = {1, 1, 1, 1, 1, 1, 1, 1}, int64[2] image_axes = {2, 3},
 int64[3] flat = {0, 8, -1}, int64[1] zero = {0}, int64[1] one = {1}, int64[1] three = {3},
 int64[1] last = {9223372036854775807}, int64[1] first = {-9223372036854775808},
 int64[1] back = {-1}, float[4] scales16 = {1, 1, 16, 16}, float[4] scales2 = {1, 1, 2, 2},
 int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}>
{ NODES }"""


def local(nodes: str) -> int | None:
    model = onnx.parser.parse_model(_GRAPH.replace("NODES", nodes))
    onnx.checker.check_model(model)
    x, y = (
        TensorSpec(name=name, role="latents", dtype="float32", shape=(8, "height", "width"))
        for name in ("x", "y")
    )
    return halo_of(model, GraphSpec("any.onnx", "fp32", (x,), (y,)), AXES)


@pytest.mark.parametrize("name", GLOBAL)
def test_what_looks_at_the_whole_image_is_not_local(name: str) -> None:
    assert local("y = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x)") == 1
    assert local(GLOBAL[name]) is None


def test_places_that_nothing_uses_make_no_graph_global() -> None:
    assert local("y, places = MaxPool <kernel_shape = [5, 5], pads = [2, 2, 2, 2]> (x)") == 2


class Upscaler(nn.Module):
    """A dense residual block, and twice a nearest upsampling with a convolution, as in ESRGAN:
    images four times as large."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.dense = nn.ModuleList(nn.Conv2d(8 * i, 8, 3, padding=1) for i in (1, 2, 3))
        self.ups = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.last = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        known = [first]
        for conv in self.dense:
            known.append(F.leaky_relu(conv(torch.cat(known, 1)), 0.2))
        x = first + known[-1]
        for up in self.ups:
            x = F.leaky_relu(up(F.interpolate(x, scale_factor=2.0, mode="nearest")), 0.2)
        return torch.tanh(4 * self.last(x))


def test_a_local_translator_is_exact_at_every_size(tmp_path: Path) -> None:
    axes = {
        name: Axis(min=16, max=96, multiple_of=2, default=default)
        for name, default in (("height", 64), ("width", 48))
    }
    folder = export(
        translate=Upscaler(), image=IMAGE, axes=axes, name="larger", out=tmp_path, batches=(1, 2)
    )
    tiling = read_artifact(folder).manifest.graphs["translate"].tiling
    assert tiling is not None
    assert (tiling.exact, tiling.halo, tiling.tile) == (True, 6, 32)
    assert tiling.max_difference is not None
    assert tiling.max_difference <= 1
    assert "exact from an edge of 24 on (it looks 6 pixels around)" in (
        folder / "README.md"
    ).read_text(encoding="utf-8")
    images = np.random.default_rng(0).integers(0, 256, (2, 90, 62, 3), dtype=np.uint8)
    with runtime.load(folder, precision="fp32") as model:
        whole = model.translate(images).astype(int)
        for tile in (24, 34, 64):
            assert np.abs(model.translate(images, tile=tile) - whole).max() <= 1
        # Too small to look far enough: blended, and no longer the same.
        assert np.abs(model.translate(images, tile=16) - whole).max() > 1
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
        batches=(1, 2),
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
    folder = export(translate=Upscaler(), image=IMAGE, name="fixed", out=tmp_path, batches=(1, 2))
    assert read_artifact(folder).manifest.graphs["translate"].tiling is None
    assert "in tiles" not in (folder / "README.md").read_text(encoding="utf-8")
