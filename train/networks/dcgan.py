"""DCGAN: generator and discriminator of Radford, Metz and Chintala (2016), arXiv:1511.06434.

Optionally class-conditional (Mirza and Osindero 2014, arXiv:1411.1784): the label sets gain and
bias of the generator's batch norms, and the discriminator scores the match between label and
picture by projection (Miyato and Koyama 2018, arXiv:1802.05637, eq. 3).

Shapes: B batch, Z latent size, C channels, H height, W width.
"""

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized


@dataclass(frozen=True)
class DCGANParams:
    """Size and switches of both networks.

    `stages` stride-2 layers lie between the smallest feature map and the image, whose sides must
    be divisible by 2**stages. The defaults follow the practical heuristics of Chollet, "Deep
    Learning with Python", 2nd ed., section 12.5; each is a switch, so that its worth can be shown.
    """

    latent: int = 128
    height: int = 32
    width: int = 32
    channels: int = 3
    stages: int = 3
    classes: int = 0
    """Number of labels; 0 makes both networks unconditional."""
    generator_width: int = 64
    """Channels of the generator's last feature map; every earlier one has twice as many."""
    discriminator_width: int = 64
    """Channels of the discriminator's first feature map; every later one has twice as many."""
    discriminator_stages: int = 3
    """Halvings in the discriminator: enough that its last features see whole shapes, not strokes
    only."""
    kernel: int = 4
    """Side of the kernels; divisible by the stride 2, so that no checkerboard appears."""
    tanh: bool = True
    """End the generator in tanh (images in [-1, 1]); otherwise linear."""
    strided: bool = True
    """Discriminator: strided convolutions and LeakyReLU; otherwise 3x3 ones,
    ReLU and average pooling."""
    dropout: float = 0.0
    """Dropout before the discriminator's last layer."""
    pack: int = 1
    """Images that the discriminator judges together, joined along the channels: one score for all
    (Lin et al. 2018, PacGAN, arXiv:1712.04086). A generator of few modes is seen at once."""
    discriminator_norm: Literal["none", "batch", "spectral"] = "none"
    """Discriminator: batch norm after every convolution but the first (the DCGAN paper), or every
    weight divided by its largest singular value (Miyato et al. 2018, arXiv:1802.05957)."""

    def __post_init__(self) -> None:
        factor = 2**self.stages
        if self.height % factor or self.width % factor:
            raise ValueError(
                f"height and width: expected multiples of 2**stages = {factor}, "
                f"found {self.height} x {self.width}"
            )
        if self.pack > 1 and self.classes:
            raise ValueError(f"pack: expected 1 for a conditional network, found {self.pack}")
        if self.kernel < 2:
            raise ValueError(f"kernel: expected at least 2, found {self.kernel}")

    @property
    def start(self) -> tuple[int, int]:
        """(H, W) of the smallest feature map."""
        return self.height >> self.stages, self.width >> self.stages


class Generator(nn.Module):
    """Latents [B, Z] (and labels int64 [B] where conditional) -> images [B, C, H, W]."""

    def __init__(self, params: DCGANParams) -> None:
        super().__init__()
        self.params = params
        channels = params.generator_width << (params.stages - 1)
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(params.latent, channels, params.start, bias=False),
            _batch_norm(channels, params.classes, params.start),
            nn.ReLU(),
        ]
        for _ in range(params.stages - 1):
            layers += [
                _upsample(channels, channels // 2, params.kernel, bias=False),
                _batch_norm(channels // 2, params.classes),
                nn.ReLU(),
            ]
            channels //= 2
        layers.append(_upsample(channels, params.channels, params.kernel, bias=True))
        if params.tanh:
            layers.append(nn.Tanh())
        self.layers = nn.ModuleList(layers)
        self.apply(_initialise)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.params.classes and labels is None:
            raise ValueError("labels: expected int64 [B] for a conditional generator")
        features = latents[:, :, None, None]
        for layer in self.layers:
            conditional = isinstance(layer, ConditionalBatchNorm2d)
            features = layer(features, labels) if conditional else layer(features)
        return features


class ConditionalBatchNorm2d(nn.Module):
    """Batch norm whose gain and bias are looked up by label; [B, C, H, W], labels [B] -> same.

    De Vries et al. (2017), arXiv:1707.00683. The normalised features know only the latent, so
    that a generator does not leave it unread and draw one picture for each label (which it did
    where an embedding of the label stood beside the latent). Gain and bias are
    one number a channel, or, where `size` is (H, W), one at every position.
    """

    def __init__(self, channels: int, classes: int, size: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self.shape = (channels, *size)
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Embedding(classes, math.prod(self.shape))
        self.bias = nn.Embedding(classes, math.prod(self.shape))
        nn.init.normal_(self.gain.weight, 1.0, 0.02)
        # Labels differ from the start: from zero, Adam's small steps take thousands to part them.
        nn.init.normal_(self.bias.weight, 0.0, 0.5)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        gain = self.gain(labels).unflatten(1, self.shape)
        bias = self.bias(labels).unflatten(1, self.shape)
        return gain * self.norm(features) + bias


class Discriminator(nn.Module):
    """Images [B, C, H, W] (and labels int64 [B] where conditional) -> scores, high for real: [B],
    or [B / pack], one for each `pack` images that follow one another."""

    def __init__(self, params: DCGANParams) -> None:
        super().__init__()
        self.params = params
        self.packed = (params.pack * params.channels, params.height, params.width)
        normalise = spectral_norm if params.discriminator_norm == "spectral" else nn.Identity()
        kernel, stride = (params.kernel, 2) if params.strided else (3, 1)
        padding = (kernel - 1) // 2
        layers: list[nn.Module] = []
        channels, wider = params.pack * params.channels, params.discriminator_width
        height, width = params.height, params.width
        for stage in range(params.discriminator_stages):
            batch_norm = params.discriminator_norm == "batch" and stage > 0
            layers.append(
                normalise(nn.Conv2d(channels, wider, kernel, stride, padding, bias=not batch_norm))
            )
            if batch_norm:
                layers.append(nn.BatchNorm2d(wider))
            layers += [nn.LeakyReLU(0.2)] if params.strided else [nn.ReLU(), nn.AvgPool2d(2)]
            channels, wider = wider, wider * 2
            # A strided convolution with an odd kernel rounds up, all others round down.
            up = params.strided and kernel % 2
            height, width = (height + up) // 2, (width + up) // 2
        layers += [nn.Flatten(), nn.Dropout(params.dropout)]
        self.layers = nn.Sequential(*layers)
        features = channels * height * width
        self.score = normalise(nn.Linear(features, 1))
        self.project = normalise(nn.Embedding(params.classes, features)) if params.classes else None
        self.apply(_initialise)
        if isinstance(self.project, nn.Embedding) and not is_parametrized(self.project):
            # The default, Normal(0, 1), would drown the other score in thousands of features.
            nn.init.normal_(self.project.weight, 0.0, 0.02)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        features = self.layers(images.reshape(-1, *self.packed))
        scores = self.score(features).squeeze(1)
        if self.project is not None:
            if labels is None:
                raise ValueError("labels: expected int64 [B] for a conditional discriminator")
            scores = scores + (self.project(labels) * features).sum(dim=1)
        return scores


def _batch_norm(channels: int, classes: int, size: tuple[int, int] = (1, 1)) -> nn.Module:
    return ConditionalBatchNorm2d(channels, classes, size) if classes else nn.BatchNorm2d(channels)


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
