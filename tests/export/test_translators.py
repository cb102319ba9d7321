"""Image-to-image generators in the layouts of their papers' code, at small width: pix2pix's U-Net,
CycleGAN's ResNet, and fast style transfer, from safetensors files."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

import runtime
from export.__main__ import main


class UNet(nn.Module):
    """pix2pix: `levels` halvings, skip connections, images [B, 3, H, W] in [-1, 1]."""

    def __init__(self, levels: int = 8, width: int = 64, norm: str = "batch") -> None:
        super().__init__()
        make = nn.BatchNorm2d if norm == "batch" else nn.InstanceNorm2d
        wide = [min(width << i, width * 8) for i in range(levels)]
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for i, channels in enumerate(wide):
            down: list[nn.Module] = [nn.LeakyReLU(0.2)] if i else []
            down.append(nn.Conv2d(wide[i - 1] if i else 3, channels, 4, 2, 1))
            if 0 < i < levels - 1:
                down.append(make(channels))
            self.downs.append(nn.Sequential(*down))
            given = channels if i == levels - 1 else 2 * channels
            up: list[nn.Module] = [nn.ReLU()]
            up.append(nn.ConvTranspose2d(given, wide[i - 1] if i else 3, 4, 2, 1))
            up.append(make(wide[i - 1]) if i else nn.Tanh())
            self.ups.append(nn.Sequential(*up))

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
        for up, skip in zip(reversed(self.ups), reversed(skips), strict=True):
            x = up(x if skip is skips[-1] else torch.cat([x, skip], 1))
        return x


class Block(nn.Module):
    def __init__(self, channels: int, norm: type[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            norm(channels),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            norm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class ResNet(nn.Module):
    """CycleGAN: reflection padding, instance norms, images in [-1, 1]."""

    def __init__(self, blocks: int = 9, width: int = 64) -> None:
        super().__init__()

        def layers() -> Iterator[nn.Module]:
            norm = nn.InstanceNorm2d
            yield from (nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), norm(width), nn.ReLU())
            for wide in (width, 2 * width):
                yield from (nn.Conv2d(wide, 2 * wide, 3, 2, 1), norm(2 * wide), nn.ReLU())
            yield from (Block(4 * width, norm) for _ in range(blocks))
            for wide in (4 * width, 2 * width):
                yield nn.ConvTranspose2d(wide, wide // 2, 3, 2, 1, output_padding=1)
                yield from (norm(wide // 2), nn.ReLU())
            yield from (nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())

        self.model = nn.Sequential(*layers())

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Padded(nn.Module):
    """A convolution with reflections around the image, which may be enlarged before."""

    def __init__(self, given: int, made: int, kernel: int, stride: int = 1, up: int = 1) -> None:
        super().__init__()
        self.pad = nn.ReflectionPad2d(kernel // 2)
        self.conv, self.up = nn.Conv2d(given, made, kernel, stride), up

    def forward(self, x: Tensor) -> Tensor:
        if self.up > 1:
            x = F.interpolate(x, scale_factor=self.up, mode="nearest")
        return self.conv(self.pad(x))


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = Padded(channels, channels, 3), Padded(channels, channels, 3)
        self.in1 = nn.InstanceNorm2d(channels, affine=True)
        self.in2 = nn.InstanceNorm2d(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.in2(self.conv2(self.in1(self.conv1(x)).relu()))


class Style(nn.Module):
    """Fast style transfer: affine instance norms, images in [0, 255] without a bounded layer."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        norm = nn.InstanceNorm2d
        wide, widest = 2 * width, 4 * width
        self.layers = nn.Sequential(
            *(Padded(3, width, 9), norm(width, affine=True), nn.ReLU()),
            *(Padded(width, wide, 3, 2), norm(wide, affine=True), nn.ReLU()),
            *(Padded(wide, widest, 3, 2), norm(widest, affine=True), nn.ReLU()),
            *(Residual(widest) for _ in range(5)),
            *(Padded(widest, wide, 3, up=2), norm(wide, affine=True), nn.ReLU()),
            *(Padded(wide, width, 3, up=2), norm(width, affine=True), nn.ReLU()),
            Padded(width, 3, 9),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def trained(module: nn.Module) -> nn.Module:
    """The module with statistics that are not 0 and 1, its images of all grey levels."""
    torch.manual_seed(0)
    for each in module.modules():
        if isinstance(each, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(each.weight, std=each.weight[0].numel() ** -0.5)
        if isinstance(each, nn.BatchNorm2d):
            assert each.running_mean is not None
            assert each.running_var is not None
            each.running_mean.normal_(std=0.1)
            each.running_var.uniform_(0.5, 1.5)
    if isinstance(module, Style):
        last = module.layers[-1].conv
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        with torch.no_grad():
            last.weight *= 60
            last.bias.fill_(128)
    return module.eval()


# (class, parameters at small width, sizes, value range, sizes to translate)
NETWORKS = {
    "pix2pix": ("UNet", {"levels": 4, "width": 4}, 16, (-1, 1), ((32, 48), (16, 32))),
    "pix2pix-instance": (
        "UNet",
        {"levels": 4, "width": 4, "norm": "instance"},
        16,
        (-1, 1),
        ((32, 48), (64, 32)),
    ),
    "cyclegan": ("ResNet", {"blocks": 2, "width": 4}, 4, (-1, 1), ((32, 48), (20, 36))),
    "style": ("Style", {"width": 4}, 4, (0, 255), ((32, 48), (20, 36))),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_generator_is_exported_from_its_weights(name: str, tmp_path: Path) -> None:
    kind, params, step, (low, high), sizes = NETWORKS[name]
    module = trained(globals()[kind](**params))
    save_file(module.state_dict(), tmp_path / "weights.safetensors")
    command = ["module", f"{__name__}:{kind}", "--translates", "--name", name]
    command += ["--size", f"16..128/{step}"]
    command += ["--params", json.dumps(params), "--weights", str(tmp_path / "weights.safetensors")]
    command += ["--image", "32x48x3", "--value-range", str(low), str(high), "--batches", "1,4"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    with runtime.load(tmp_path / name, backend="onnxruntime") as model:
        for size in sizes:
            images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
            made = model.translate(images)
            floats = torch.from_numpy(images).permute(0, 3, 1, 2) / 255 * (high - low) + low
            with torch.inference_mode():
                levels = (module(floats) - low) / (high - low) * 255
            expected = levels.clamp(0, 255).permute(0, 2, 3, 1).numpy()
            assert expected.std() > 20
            assert np.abs(made - expected).max() <= 1.01
        own = model.translate(images[:, 1:, 2:])
        assert own.shape == (2, size[0] - 1, size[1] - 2, 3)
