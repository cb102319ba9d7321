"""Rows: image-to-image generators in the layouts of their papers' code: pix2pix's U-Net, CycleGAN's
ResNet, and fast style transfer.

Shapes: images [B, 3, H, W].
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.networks.row import Arrays, Reference, Row, Wrap, floats, levels


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
            for buffer in each.buffers():
                if buffer.is_floating_point():
                    buffer.uniform_(0.5, 1.5)
            nn.init.normal_(each.get_buffer("running_mean"), std=0.1)
    if isinstance(module, Style):
        last = module.layers[-1].get_submodule("conv")
        with torch.no_grad():
            last.get_parameter("weight").mul_(60)
            last.get_parameter("bias").fill_(128)
    return module.eval()


def _row(
    name: str,
    network: type[nn.Module],
    image: int,
    sizes: str,
    value_range: tuple[float, float],
    others: tuple[tuple[int, int], ...],
) -> Row:
    low, high = value_range

    def write(folder: Path) -> Sequence[str]:
        save_file(trained(network()).state_dict(), folder / "weights.safetensors")
        target = f"{__name__}:{network.__name__}"
        weights = ("--weights", str(folder / "weights.safetensors"), "--name", "network")
        shape = ("--image", f"{image}x{image}x3", "--size", sizes, "--batches", "1,4")
        span = ("--value-range", f"{low:g}", f"{high:g}")
        return ("module", target, "--translates", *weights, *shape, *span)

    def read(folder: Path, wrap: Wrap) -> Reference:
        module = network()
        module.load_state_dict(load_file(folder / "weights.safetensors"))
        call: Callable[[Tensor], Tensor] = wrap(module.eval())

        @torch.inference_mode()
        def run(graph: str, inputs: Arrays) -> Arrays:
            made = call(torch.from_numpy(floats(inputs["images"], low, high)))
            return {"translated": levels(made.numpy(), low, high)}

        return run

    return Row(name, write, read, others)


def rows() -> list[Row]:
    """pix2pix, CycleGAN and style transfer at the widths of their papers."""
    unit, bytes_ = (-1.0, 1.0), (0.0, 255.0)
    return [
        _row("pix2pix U-Net 256", UNet, 512, "256..1024/256", unit, ((512, 768),)),
        _row("CycleGAN ResNet-9", ResNet, 256, "64..1024/4", unit, ((256, 320),)),
        _row("style transfer", Style, 256, "64..1024/4", bytes_, ((256, 320),)),
    ]
