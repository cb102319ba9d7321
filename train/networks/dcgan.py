"""DCGAN: generator and discriminator of Radford, Metz and Chintala (2016), arXiv:1511.06434.

Optionally class-conditional (Mirza and Osindero 2014, arXiv:1411.1784), each network in its own
way: see `DCGANParams.generator_labels` and `discriminator_labels`.

Shapes: B batch, Z latent size, C channels, H height, W width.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized

from train.networks.layers import (
    ConditionalBatchNorm2d,
    MinibatchDeviation,
    VirtualBatchNorm2d,
    one_hot,
    with_labels,
)
from train.networks.network import check_sides, network

REFERENCE = 32
"""Latents in the reference batch of virtual batch norm."""


@network("gan")
@dataclass(frozen=True)
class DCGANParams:
    """Size and switches of both networks.

    `stages` stride-2 layers lie between the smallest feature map and the image, whose sides must
    be divisible by 2**stages. The defaults follow the practical heuristics of Chollet, "Deep
    Learning with Python", 1st ed., section 8.5.2; each is a switch, so that its worth can be shown.
    """

    latent: int = 128
    height: int = 32
    width: int = 32
    channels: int = 3
    stages: int = 3
    classes: int = 0
    """Number of labels; 0 makes both networks unconditional."""
    generator_labels: Literal["batch_norm", "concatenate"] = "batch_norm"
    """The label sets gain and bias of every batch norm, or is joined to the latent, one-hot."""
    discriminator_labels: Literal["project", "concatenate", "classify"] = "project"
    """The label scores its match with the picture by projection (Miyato and Koyama 2018, eq. 3,
    arXiv:1802.05637), or is joined to the picture, one map per class; or the
    discriminator predicts it (auxiliary classifier: Odena et al. 2017, arXiv:1610.09585)."""
    generator_width: int = 64
    """Channels of the generator's last feature map; every earlier one has twice as many."""
    discriminator_width: int = 64
    """Channels of the discriminator's first feature map; every later one has twice as many."""
    widest: int = 0
    """The most channels of any feature map, where the doubling ends; 0: it does not. Pictures of
    256x256 need many stages, and most weights are in the smallest maps."""
    discriminator_stages: int = 3
    """Halvings in the discriminator: enough that its last features see whole shapes, not strokes
    only."""
    kernel: int = 4
    """Side of the kernels; divisible by the stride 2, so that no checkerboard appears."""
    tanh: bool = True
    """End the generator in tanh (images in [-1, 1]); otherwise linear."""
    strided: bool = True
    """Discriminator: strided convolutions and LeakyReLU; otherwise 3x3 ones, ReLU and max pooling,
    whose gradients are sparse."""
    dropout: float = 0.0
    """Dropout before the discriminator's last layer."""
    pack: int = 1
    """Images that the discriminator judges together, joined along the channels: one score for all
    (Lin et al. 2018, PacGAN, arXiv:1712.04086). A generator of few modes is seen at once."""
    minibatch_deviation: bool = False
    """Discriminator: how much the batch varies is one of its last features."""
    generator_norm: Literal["batch", "virtual"] = "batch"
    """Generator: batch norm, or virtual batch norm with a reference batch of its own."""
    discriminator_norm: Literal["none", "batch", "spectral"] = "none"
    """Discriminator: batch norm after every convolution but the first (the DCGAN paper), or every
    weight divided by its largest singular value (Miyato et al. 2018, arXiv:1802.05957)."""
    kind: Literal["dcgan"] = "dcgan"

    def __post_init__(self) -> None:
        check_sides(self.height, self.width, 2**self.stages, "2**stages")
        if self.pack > 1 and self.classes:
            raise ValueError(f"pack: expected 1 for a conditional network, found {self.pack}")
        if self.generator_norm == "virtual" and self.classes:
            raise ValueError("generator_norm: expected batch norm in a conditional network")
        if self.kernel < 2:
            raise ValueError(f"kernel: expected at least 2, found {self.kernel}")

    @property
    def start(self) -> tuple[int, int]:
        """(H, W) of the smallest feature map."""
        return self.height >> self.stages, self.width >> self.stages

    @property
    def judges_alone(self) -> bool:
        """Whether the discriminator's score of a picture (or pack) depends on no other."""
        return self.discriminator_norm != "batch" and not self.minibatch_deviation

    def doubled(self, width: int, times: int) -> int:
        """Channels of the map `times` stages further from the image than one of `width`."""
        return min(width << times, self.widest or width << times)

    def build(self) -> "tuple[Generator, Discriminator]":
        return Generator(self), Discriminator(self)


class Generator(nn.Module):
    """Latents [B, Z] (and labels int64 [B] where conditional) -> images [B, C, H, W]."""

    reference: Tensor

    def __init__(self, params: DCGANParams) -> None:
        super().__init__()
        self.params = params
        widths = [params.doubled(params.generator_width, i) for i in range(params.stages)]
        channels, *later = reversed(widths)
        self.concatenates = bool(params.classes) and params.generator_labels == "concatenate"
        size = params.latent + (params.classes if self.concatenates else 0)
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(size, channels, params.start, bias=False),
            _generator_norm(channels, params, params.start),
            nn.ReLU(),
        ]
        for width in later:
            layers += [
                _upsample(channels, width, params.kernel, bias=False),
                _generator_norm(width, params),
                nn.ReLU(),
            ]
            channels = width
        layers.append(_upsample(channels, params.channels, params.kernel, bias=True))
        if params.tanh:
            layers.append(nn.Tanh())
        self.layers = nn.ModuleList(layers)
        self.apply(_initialise)
        reference = REFERENCE if params.generator_norm == "virtual" else 0
        latents = torch.randn(reference, params.latent)
        self.register_buffer("reference", latents, persistent=reference > 0)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.params.classes and labels is None:
            raise ValueError("labels: expected int64 [B] for a conditional generator")
        if self.concatenates and labels is not None:
            latents = with_labels(latents, labels, self.params.classes)
        leading = len(self.reference) if self.training else 0
        if leading:
            latents = torch.cat([self.reference, latents])
        features = latents[:, :, None, None]
        for layer in self.layers:
            conditional = isinstance(layer, ConditionalBatchNorm2d)
            features = layer(features, labels) if conditional else layer(features)
        return features[leading:]

    def logits(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """As a VAE asks its decoder, which no sigmoid ends: the images."""
        return self(latents, labels)


class UniformLatents(nn.Module):
    """A generator of latents uniform in [-1, 1], fed with normal ones as artifacts draw them:
    2 Phi(z) - 1 = erf(z / sqrt 2) of z from N(0, 1) is uniform in [-1, 1]."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, latents: Tensor, *labels: Tensor) -> Tensor:
        return self.generator(torch.erf(latents * 0.5**0.5), *labels)


class Discriminator(nn.Module):
    """Images [B, C, H, W] (and labels int64 [B] where conditional) -> scores, high for real: [B],
    or [B / pack], one for each `pack` images that follow one another."""

    def __init__(self, params: DCGANParams) -> None:
        super().__init__()
        self.params = params
        self.conditions = params.discriminator_labels if params.classes else None
        maps = params.classes if self.conditions == "concatenate" else 0
        channels = params.pack * params.channels + maps
        normalise = spectral_norm if params.discriminator_norm == "spectral" else nn.Identity()
        kernel, stride = (params.kernel, 2) if params.strided else (3, 1)
        padding = (kernel - 1) // 2
        layers: list[nn.Module] = []
        height, width = params.height, params.width
        for stage in range(params.discriminator_stages):
            wider = params.doubled(params.discriminator_width, stage)
            batch_norm = params.discriminator_norm == "batch" and stage > 0
            layers.append(
                normalise(nn.Conv2d(channels, wider, kernel, stride, padding, bias=not batch_norm))
            )
            if batch_norm:
                layers.append(nn.BatchNorm2d(wider))
            layers += [nn.LeakyReLU(0.2)] if params.strided else [nn.ReLU(), nn.MaxPool2d(2)]
            channels = wider
            # A strided convolution with an odd kernel rounds up, all others round down.
            up = params.strided and kernel % 2
            height, width = (height + up) // 2, (width + up) // 2
        if params.minibatch_deviation:
            layers.append(MinibatchDeviation())
            channels += 1
        layers += [nn.Flatten(), nn.Dropout(params.dropout)]
        self.layers = nn.Sequential(*layers)
        features = channels * height * width
        self.score = normalise(nn.Linear(features, 1))
        project = self.conditions == "project"
        self.project = normalise(nn.Embedding(params.classes, features)) if project else None
        classify = self.conditions == "classify"
        self.classify = normalise(nn.Linear(features, params.classes)) if classify else None
        self.apply(_initialise)
        if isinstance(self.project, nn.Embedding) and not is_parametrized(self.project):
            # The default, Normal(0, 1), would drown the other score in thousands of features.
            nn.init.normal_(self.project.weight, 0.0, 0.02)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.judge(images, labels)[0]

    def judge(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Scores, and the features [B / pack, F] that they are made of."""
        if self.params.classes and labels is None:
            raise ValueError("labels: expected int64 [B] for a conditional discriminator")
        if self.params.pack > 1:
            images = images.reshape(-1, self.params.pack * self.params.channels, *images.shape[2:])
        if self.conditions == "concatenate" and labels is not None:
            maps = one_hot(labels, self.params.classes, images)[:, :, None, None]
            images = torch.cat([images, maps.expand(-1, -1, *images.shape[2:])], dim=1)
        features = self.layers(images)
        scores = self.score(features).squeeze(1)
        if self.project is not None:
            scores = scores + (self.project(labels) * features).sum(dim=1)
        return scores, features


def _generator_norm(
    channels: int, params: DCGANParams, size: tuple[int, int] = (1, 1)
) -> nn.Module:
    if params.classes and params.generator_labels == "batch_norm":
        return ConditionalBatchNorm2d(channels, params.classes, size)
    if params.generator_norm == "virtual":
        return VirtualBatchNorm2d(channels, REFERENCE)
    return nn.BatchNorm2d(channels)


def _upsample(channels: int, out: int, kernel: int, *, bias: bool) -> nn.ConvTranspose2d:
    # Doubles the sides exactly for even and for odd kernels.
    return nn.ConvTranspose2d(
        channels, out, kernel, 2, (kernel - 1) // 2, output_padding=kernel % 2, bias=bias
    )


def _initialise(module: nn.Module) -> None:
    # Normal(0, 0.02) weights, section 3 of the DCGAN paper. Weights under a parametrisation are
    # skipped: spectral norm makes their scale irrelevant.
    convolves = isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    if convolves and not is_parametrized(module):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d) and module.affine:
        nn.init.normal_(module.weight, 1.0, 0.02)
