"""A variational autoencoder of volumes, with convolutions in three dimensions.

The networks of 3D-GAN (Wu et al. 2016, arXiv:1610.07584, section 3) at a smaller width, trained as
a VAE. To the rest of training a volume is a picture: its layers, one below another.

Shapes: B batch, Z latent, D layers, H rows and W voxels of a layer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from train.networks.layers import with_labels
from train.networks.network import network
from train.networks.posterior import GaussianPosterior, Posterior


@network("vae")
@dataclass(frozen=True)
class VoxelVAEParams:
    """Size of both networks, for volumes of `side`^3 voxels.

    `widths`: channels of the encoder's convolutions, from the volume inwards; each halves the
    sides. The decoder mirrors `decoder_widths`. `hidden`: of the dense layer beside the latent.
    """

    latent: int = 16
    side: int = 32
    widths: tuple[int, ...] = (16, 32, 64)
    decoder_widths: tuple[int, ...] = (16, 32, 64)
    hidden: int = 256
    classes: int = 0
    """Number of labels, which the decoder takes beside the latent, one-hot."""
    kind: Literal["voxel-vae"] = "voxel-vae"
    sigmoid: ClassVar[bool] = True
    channels: ClassVar[int] = 1

    def __post_init__(self) -> None:
        factor = 2 ** max(len(self.widths), len(self.decoder_widths))
        if self.side % factor:
            raise ValueError(f"side: expected a multiple of {factor}, found {self.side}")

    @property
    def height(self) -> int:
        """Of the picture that holds a volume."""
        return self.side * self.side

    @property
    def width(self) -> int:
        return self.side

    def build(
        self, flow: "Callable[[VoxelEncoder], Posterior] | None" = None
    ) -> "tuple[Posterior, VoxelDecoder]":
        encoder = VoxelEncoder(self)
        return flow(encoder) if flow else encoder, VoxelDecoder(self)


def depth_of(params: Any) -> int:
    """The layers of a network's volumes; 1 for one of pictures."""
    return params.side if isinstance(params, VoxelVAEParams) else 1


class VoxelEncoder(GaussianPosterior):
    """Volumes [B, 1, D * H, W] -> mean and log-variance of q(z|x), each [B, Z]."""

    def __init__(self, params: VoxelVAEParams) -> None:
        super().__init__()
        self.params = params
        layers: list[nn.Module] = [nn.Unflatten(2, (params.side, params.side))]
        channels = 1
        for width in params.widths:
            layers += [nn.Conv3d(channels, width, 4, 2, 1), nn.GELU()]
            channels = width
        inner = params.side >> len(params.widths)
        layers += [nn.Flatten(), nn.Linear(channels * inner**3, params.hidden), nn.GELU()]
        self.layers = nn.Sequential(*layers)
        self.moments = nn.Linear(params.hidden, 2 * params.latent)


class VoxelDecoder(nn.Module):
    """Latents [B, Z] (and labels int64 [B] where conditional) -> volumes [B, 1, D * H, W] in
    [0, 1]."""

    def __init__(self, params: VoxelVAEParams) -> None:
        super().__init__()
        self.params = params
        inner = params.side >> len(params.decoder_widths)
        channels, *outward = *params.decoder_widths[::-1], 1
        layers: list[nn.Module] = [
            nn.Linear(params.latent + params.classes, params.hidden),
            nn.GELU(),
            nn.Linear(params.hidden, channels * inner**3),
            nn.Unflatten(1, (channels, inner, inner, inner)),
        ]
        for outer in outward:
            layers += [nn.GELU(), nn.ConvTranspose3d(channels, outer, 4, 2, 1)]
            channels = outer
        self.layers = nn.Sequential(*layers)

    def logits(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return self._volumes(latents, labels).flatten(2, 3)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.logits(latents, labels).sigmoid()

    def volumes(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """The same as [B, 1, D, H, W]."""
        return self._volumes(latents, labels).sigmoid()

    def _volumes(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        return self.layers(with_labels(latents, labels, self.params.classes))


class Volumes(nn.Module):
    """A decoder of volumes as it is exported: [B, 1, D, H, W]."""

    def __init__(self, decoder: VoxelDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.decoder.volumes(latents, labels)
