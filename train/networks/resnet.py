"""Residual generator and discriminator, as in SNGAN and BigGAN.

Miyato et al. (2018), arXiv:1802.05957, table 4; Brock, Donahue and Simonyan (2019),
arXiv:1809.11096, appendix B. The label sets gain and bias of the generator's batch norms and is
projected on the discriminator's features (Miyato and Koyama 2018, eq. 3, arXiv:1802.05637).
BigGAN's self-attention, shared class embedding and hierarchical latents are left out: at 32x32 it
has no attention either, and ten classes need no shared embedding.

Shapes: B batch, Z latent size, C channels, H height, W width.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from train.networks.layers import ConditionalBatchNorm2d
from train.networks.network import check_sides, network


@network("gan")
@dataclass(frozen=True)
class ResNetParams:
    """Size and switches of both networks.

    `stages` blocks that double the sides lie between the generator's smallest feature map and the
    image, whose sides must be divisible by 2**stages.
    """

    latent: int = 128
    height: int = 32
    width: int = 32
    channels: int = 3
    stages: int = 3
    classes: int = 0
    """Number of labels; 0 makes both networks unconditional."""
    generator_width: int = 32
    """Channels of the generator's last feature map."""
    discriminator_width: int = 32
    """Channels of the discriminator's first feature map."""
    growth: int = 2
    """How many times as many channels a map of half the sides has; 1 for the published networks of
    32x32, which are as wide everywhere."""
    discriminator_stages: int = 3
    """Blocks of the discriminator that halve the sides."""
    discriminator_flat: int = 1
    """Blocks after them that keep the sides."""
    generator_spectral: bool = False
    """Every weight of the generator divided by its largest singular value too, as in BigGAN."""
    kind: Literal["resnet"] = "resnet"

    def __post_init__(self) -> None:
        check_sides(
            self.height, self.width, 2 ** max(self.stages, self.discriminator_stages), "2**stages"
        )

    @property
    def judges_alone(self) -> bool:
        """The discriminator's score of a picture depends on no other: it has no batch norm."""
        return True

    def build(self) -> "tuple[ResNetGenerator, ResNetDiscriminator]":
        return ResNetGenerator(self), ResNetDiscriminator(self)


class ResNetGenerator(nn.Module):
    """Latents [B, Z] (and labels int64 [B] where conditional) -> images [B, C, H, W] in [-1, 1]."""

    def __init__(self, params: ResNetParams) -> None:
        super().__init__()
        self.params = params
        self.start = (params.height >> params.stages, params.width >> params.stages)
        spectral = params.generator_spectral
        channels = params.generator_width * params.growth**params.stages
        height, width = self.start
        self.first = _weighted(nn.Linear(params.latent, channels * height * width), spectral)
        self.blocks = nn.ModuleList()
        for _ in range(params.stages):
            out = channels // params.growth
            self.blocks.append(UpBlock(channels, out, params.classes, spectral))
            channels = out
        self.norm = nn.BatchNorm2d(channels)
        self.last = _weighted(nn.Conv2d(channels, params.channels, 3, padding=1), spectral)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.params.classes and labels is None:
            raise ValueError("labels: expected int64 [B] for a conditional generator")
        features = self.first(latents).unflatten(1, (-1, *self.start))
        for block in self.blocks:
            features = block(features, labels)
        return self.last(self.norm(features).relu()).tanh()


class UpBlock(nn.Module):
    """[B, C, H, W] (and labels int64 [B]) -> [B, C', 2 H, 2 W]."""

    def __init__(self, channels: int, out: int, classes: int, spectral: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleList(
            ConditionalBatchNorm2d(c, classes) if classes else nn.BatchNorm2d(c)
            for c in (channels, out)
        )
        self.up = _weighted(UpsamplingConv2d(channels, out, 3, padding=1), spectral)
        self.conv = _weighted(nn.Conv2d(out, out, 3, padding=1), spectral)
        self.skip = _weighted(nn.Conv2d(channels, out, 1), spectral)

    def forward(self, features: Tensor, labels: Tensor | None) -> Tensor:
        residual = self.up(self._norm(0, features, labels).relu())
        residual = self.conv(self._norm(1, residual, labels).relu())
        # A 1x1 convolution commutes with nearest upsampling and is cheaper before it.
        return residual + _doubled(self.skip(features))

    def _norm(self, index: int, features: Tensor, labels: Tensor | None) -> Tensor:
        norm = self.norms[index]
        conditional = isinstance(norm, ConditionalBatchNorm2d)
        return norm(features, labels) if conditional else norm(features)


class ResNetDiscriminator(nn.Module):
    """Images [B, C, H, W] (and labels int64 [B] where conditional) -> scores [B], high for real.

    Every weight is divided by its largest singular value.
    """

    classify = None

    def __init__(self, params: ResNetParams) -> None:
        super().__init__()
        self.params = params
        channels, out = params.channels, params.discriminator_width
        blocks: list[nn.Module] = []
        for stage in range(params.discriminator_stages):
            blocks.append(DownBlock(channels, out, first=stage == 0))
            channels, out = out, out * params.growth
        blocks += [FlatBlock(channels) for _ in range(params.discriminator_flat)]
        self.blocks = nn.Sequential(*blocks)
        self.score = _weighted(nn.Linear(channels, 1), True)
        classes = params.classes
        self.project = _weighted(nn.Embedding(classes, channels), True) if classes else None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.judge(images, labels)[0]

    def judge(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Scores, and the features [B, F] that they are made of."""
        if self.params.classes and labels is None:
            raise ValueError("labels: expected int64 [B] for a conditional discriminator")
        features = self.blocks(images).relu().sum(dim=(2, 3))
        scores = self.score(features).squeeze(1)
        if self.project is not None:
            scores = scores + (self.project(labels) * features).sum(dim=1)
        return scores, features


class DownBlock(nn.Module):
    """[B, C, H, W] -> [B, C', H / 2, W / 2]; the `first` one takes pixels and widens at once."""

    def __init__(self, channels: int, out: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        hidden = out if first else channels
        self.conv = _weighted(nn.Conv2d(channels, hidden, 3, padding=1), True)
        self.down = _weighted(PoolingConv2d(hidden, out, 3, padding=1), True)
        self.skip = _weighted(nn.Conv2d(channels, out, 1), True)

    def forward(self, features: Tensor) -> Tensor:
        # Not in place: the skip reads the features as they came.
        residual = self.conv(features if self.first else features.relu())
        # A 1x1 convolution commutes with average pooling and is cheaper after it.
        return self.down(residual.relu()) + self.skip(functional.avg_pool2d(features, 2))


class FlatBlock(nn.Module):
    """[B, C, H, W] -> same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            _weighted(nn.Conv2d(channels, channels, 3, padding=1), True) for _ in range(2)
        )

    def forward(self, features: Tensor) -> Tensor:
        residual = features
        for conv in self.convs:
            residual = conv(residual.relu())
        return features + residual


class UpsamplingConv2d(nn.Conv2d):
    """Nearest upsampling by two, then a 3x3 convolution; [B, C, H, W] -> [B, C', 2 H, 2 W].

    In training both are one transposed 4x4 convolution of stride 2, the same function with 2.25
    times fewer multiplications (Karras et al. 2018, arXiv:1710.10196, in their code). Out of
    training, and so in the exported graph, they are Resize and Conv, which every engine knows.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as torch names it
        if self.training:
            kernel = _shifted_sum(self.weight.flip(2, 3)).transpose(0, 1)
            return functional.conv_transpose2d(input, kernel, self.bias, stride=2, padding=1)
        return super().forward(_doubled(input))


class PoolingConv2d(nn.Conv2d):
    """A 3x3 convolution, then average pooling by two, as one 4x4 convolution of stride 2;
    [B, C, H, W] -> [B, C', H / 2, W / 2]. The same saving."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as torch names it
        kernel = _shifted_sum(self.weight) / 4
        return functional.conv2d(input, kernel, self.bias, stride=2, padding=1)


def _shifted_sum(kernel: Tensor) -> Tensor:
    """A 3x3 kernel summed at the four places it has in a 4x4 one."""
    padded = functional.pad(kernel, (1, 1, 1, 1))
    rows = padded[:, :, 1:] + padded[:, :, :-1]
    return rows[:, :, :, 1:] + rows[:, :, :, :-1]


def _doubled(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2, mode="nearest")


def _weighted(layer: nn.Conv2d | nn.Linear | nn.Embedding, spectral: bool) -> nn.Module:
    """Orthogonal weights (BigGAN, appendix B), zero bias, and spectral norm if `spectral_norm`."""
    nn.init.orthogonal_(layer.weight)
    if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return spectral_norm(layer) if spectral else layer
