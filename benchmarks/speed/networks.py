"""The reference networks of every speed figure: random weights from a fixed seed, nothing trained.

Their parameters, FLOPs and an output checksum are fixed by test, so figures of different days are
figures of the same networks. A FLOP is an addition or a multiplication: one multiply-accumulate
counts as two, of the convolutions and matrix products alone, as `torch.utils.flop_counter` counts.

Shapes: B batch, Z latent size, K labels, images [B, C, H, W] in [-1, 1].
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from runtime.images import ImageSpec

if TYPE_CHECKING:
    from export.modules.graph_module import GraphModule


SEED = 2024


@dataclass(frozen=True, eq=False)
class Network:
    """A reference network in the terms of `export.export`; modules in eval mode."""

    name: str
    decode: nn.Module
    latent: tuple[int, ...]
    image: ImageSpec
    encode: nn.Module | None = None
    labels: tuple[str, ...] | None = None

    def inputs(self, batch: int, seed: int = 0) -> tuple[Tensor, ...]:
        """Seeded inputs of `decode`: latents [B, *latent] and, where conditional, labels [B]."""
        generator = torch.Generator().manual_seed(seed)
        latents = torch.randn(batch, *self.latent, generator=generator)
        if self.labels is None:
            return (latents,)
        return latents, torch.randint(0, len(self.labels), (batch,), generator=generator)

    def images(self, batch: int, seed: int = 0) -> Tensor:
        """Seeded inputs of `encode`: noise in [-1, 1], [B, C, H, W]."""
        generator = torch.Generator().manual_seed(seed)
        shape = (batch, self.image.channels, self.image.height, self.image.width)
        return torch.rand(shape, generator=generator) * 2 - 1


class DCGANGenerator(nn.Module):
    """Radford et al. (2016), arXiv:1511.06434: 4x4 stride-2 transposed convolutions, batch norm and
    ReLU, tanh. Latents [B, Z] -> images of side 4 * 2**len(widths)."""

    def __init__(self, latent: int, widths: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent, widths[0], 4, bias=False)]
        for before, after in zip(widths, [*widths[1:], 3], strict=True):
            layers += [
                nn.BatchNorm2d(before),
                nn.ReLU(),
                nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False),
            ]
        self.layers = nn.Sequential(*layers, nn.Tanh())

    def forward(self, latents: Tensor) -> Tensor:
        return self.layers(latents[:, :, None, None])


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain and bias are looked up by label (de Vries et al. 2017,
    arXiv:1707.00683). [B, C, H, W] and labels [B] -> [B, C, H, W]."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.normalise = nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Embedding(classes, channels)
        self.bias = nn.Embedding(classes, channels)

    def forward(self, hidden: Tensor, labels: Tensor) -> Tensor:
        gain, bias = self.gain(labels)[:, :, None, None], self.bias(labels)[:, :, None, None]
        return self.normalise(hidden) * (1 + gain) + bias


class ResidualBlock(nn.Module):
    """Twice the side: norm, ReLU, nearest upsampling, 3x3, norm, ReLU, 3x3; 1x1 shortcut (Miyato
    et al. 2018, arXiv:1802.05957, appendix B)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm1 = ConditionalBatchNorm(channels, classes)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = ConditionalBatchNorm(channels, classes)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = nn.Conv2d(channels, channels, 1)

    def forward(self, hidden: Tensor, labels: Tensor) -> Tensor:
        out = self.conv1(_twice(F.relu(self.norm1(hidden, labels))))
        out = self.conv2(F.relu(self.norm2(out, labels)))
        return out + self.shortcut(_twice(hidden))


def _twice(hidden: Tensor) -> Tensor:
    return F.interpolate(hidden, scale_factor=2.0, mode="nearest")


class ResidualGenerator(nn.Module):
    """Three residual blocks from 4x4 to 32x32. Latents [B, Z], labels int64 [B] -> images."""

    def __init__(self, latent: int, channels: int, classes: int) -> None:
        super().__init__()
        self.channels = channels
        self.start = nn.Linear(latent, channels * 16)
        self.blocks = nn.ModuleList(ResidualBlock(channels, classes) for _ in range(3))
        self.norm = nn.BatchNorm2d(channels)
        self.last = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        hidden = self.start(latents).view(-1, self.channels, 4, 4)
        for block in self.blocks:
            hidden = block(hidden, labels)
        return torch.tanh(self.last(F.relu(self.norm(hidden))))


class VAEDecoder(nn.Module):
    """Two dense layers, then three 4x4 stride-2 transposed convolutions. Latents [B, Z] -> images
    [B, 3, 32, 32]."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Linear(latent, 1024), nn.ReLU()),
            *(nn.Linear(1024, 1024), nn.ReLU(), nn.Unflatten(1, (64, 4, 4))),
            *(nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU()),
            *(nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.ReLU()),
            *(nn.ConvTranspose2d(16, 3, 4, 2, 1), nn.Tanh()),
        )

    def forward(self, latents: Tensor) -> Tensor:
        return self.layers(latents)


class VAEEncoder(nn.Module):
    """The decoder's mirror image. Images [B, 3, 32, 32] -> mean, log variance, each [B, Z]."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 16, 4, 2, 1), nn.ReLU()),
            *(nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU()),
            *(nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU(), nn.Flatten()),
            *(nn.Linear(1024, 1024), nn.ReLU()),
        )
        self.posterior = nn.Linear(1024, 2 * latent)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.posterior(self.layers(images)).chunk(2, dim=1)
        return mean, log_variance


def dcgan64() -> Network:
    """DCGAN generator, 64x64 RGB, nz 100, ngf 64."""
    decode = DCGANGenerator(100, (512, 256, 128, 64))
    return Network("dcgan64", decode, (100,), _rgb(64))


def dcgan32() -> Network:
    """DCGAN generator, 32x32 RGB, nz 100, ngf 64."""
    return Network("dcgan32", DCGANGenerator(100, (256, 128, 64)), (100,), _rgb(32))


def resnet32() -> Network:
    """Residual generator, 32x32 RGB, 256 channels, ten classes by conditional batch norm."""
    labels = tuple(f"class-{index}" for index in range(10))
    decode = ResidualGenerator(128, 256, len(labels))
    return Network("resnet32", decode, (128,), _rgb(32), labels=labels)


def vae32() -> Network:
    """VAE decoder and encoder, 32x32 RGB, latent 16."""
    return Network("vae32", VAEDecoder(16), (16,), _rgb(32), encode=VAEEncoder(16))


NETWORKS: dict[str, Callable[[], Network]] = {
    function.__name__: function for function in (dcgan64, dcgan32, resnet32, vae32)
}


def build(name: str) -> Network:
    """The reference network `name`, always with the same weights."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(SEED)
        network = NETWORKS[name]()
        _initialise(network.decode)
        _settle(network.decode, network.inputs(64, SEED))
        if network.encode is not None:
            _initialise(network.encode)
            _settle(network.encode, (network.images(64, SEED),))
    return network


def parameters(module: nn.Module) -> int:
    """Trainable values."""
    return sum(p.numel() for p in module.parameters())


def flops(module: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """FLOPs of one call: two for each multiply-accumulate of convolutions and matrix products."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module(*inputs)
    return counter.get_total_flops()


def _rgb(side: int) -> ImageSpec:
    return ImageSpec(height=side, width=side, channels=3)


def _initialise(module: nn.Module) -> None:
    """Weights under which signals keep their size (He et al. 2015, arXiv:1502.01852): an untrained
    network must still give images that vary, or parity would be measured on flat grey."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            terms = layer.weight[0].numel()
            if isinstance(layer, nn.ConvTranspose2d):
                # Each output pixel meets only every stride-th weight on either axis.
                covered = 1 if layer.padding == (0, 0) else layer.weight[0, 0].numel() // 4
                terms = layer.in_channels * covered
            layer.weight.normal_(std=(2 / terms) ** 0.5)
            if layer.bias is not None:
                layer.bias.zero_()
        elif isinstance(layer, nn.Embedding):
            layer.weight.normal_(std=0.2)


def _settle(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Give batch norm the statistics of one seeded batch, as training would, and freeze it."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    module.train()
    module(*inputs)
    module.eval()


def graph_module(network: Network, graph: str) -> "GraphModule":
    """The module of a network as `export` converts it: uint8 images outside, floats inside."""
    from export.modules.graph_module import GraphModule
    from export.options import ExportOptions
    from export.signatures import decoder_spec, encoder_spec

    options = ExportOptions(
        name=network.name, latent=network.latent, image=network.image, labels=network.labels
    )
    if graph == "decode":
        return GraphModule(network.decode, decoder_spec(options), network.image.value_range)
    if network.encode is None:
        raise ValueError(f"{network.name}: expected a network with an encoder, found none")
    return GraphModule(network.encode, encoder_spec(options), network.image.value_range)
