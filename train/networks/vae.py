"""Convolutional variational autoencoder with a flat Gaussian latent.

Kingma and Welling (2014), arXiv:1312.6114. Both networks are strided (transposed) convolutions
around dense layers: on small pictures of centred objects the dense layers carry most of the
likelihood, the convolutions save most of the weights.

Shapes: B batch, Z latent size, C channels, H height, W width.
"""

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class VAEParams:
    """Size of both networks.

    `widths` are the channels of the encoder's convolutions, from the image inwards; each halves
    the sides. The decoder mirrors `decoder_widths`, from the image inwards as well.
    """

    latent: int = 2
    height: int = 28
    width: int = 28
    channels: int = 1
    widths: tuple[int, ...] = (32, 64)
    decoder_widths: tuple[int, ...] = (16, 32)
    hidden: int = 512
    """Width of the dense layers between convolutions and latent."""
    depth: int = 2
    """Number of dense layers on each side."""
    sigmoid: bool = True
    """End the decoder in a sigmoid (images in [0, 1]); otherwise linear."""

    def __post_init__(self) -> None:
        factor = 2 ** max(len(self.widths), len(self.decoder_widths))
        if self.height % factor or self.width % factor:
            raise ValueError(
                f"height and width: expected multiples of {factor} (one halving a convolution), "
                f"found {self.height} x {self.width}"
            )


class Encoder(nn.Module):
    """Images [B, C, H, W] -> mean and log-variance of q(z|x), each [B, Z]."""

    def __init__(self, params: VAEParams) -> None:
        super().__init__()
        self.params = params
        layers: list[nn.Module] = []
        channels = params.channels
        for width in params.widths:
            layers += [nn.Conv2d(channels, width, 4, 2, 1), nn.GELU()]
            channels = width
        layers.append(nn.Flatten())
        size = (
            channels * (params.height >> len(params.widths)) * (params.width >> len(params.widths))
        )
        for _ in range(params.depth):
            layers += [nn.Linear(size, params.hidden), nn.GELU()]
            size = params.hidden
        self.layers = nn.Sequential(*layers)
        self.moments = nn.Linear(size, 2 * params.latent)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.moments(self.layers(images)).chunk(2, dim=1)
        return mean, log_variance


class Decoder(nn.Module):
    """Latents [B, Z] -> images [B, C, H, W], the mean of p(x|z)."""

    def __init__(self, params: VAEParams) -> None:
        super().__init__()
        self.params = params
        layers: list[nn.Module] = []
        size = params.latent
        for _ in range(params.depth):
            layers += [nn.Linear(size, params.hidden), nn.GELU()]
            size = params.hidden
        halvings = len(params.decoder_widths)
        height, width = params.height >> halvings, params.width >> halvings
        channels = params.decoder_widths[-1]
        layers += [
            nn.Linear(size, channels * height * width),
            nn.GELU(),
            nn.Unflatten(1, (channels, height, width)),
        ]
        for narrower in params.decoder_widths[-2::-1]:
            layers += [nn.ConvTranspose2d(channels, narrower, 4, 2, 1), nn.GELU()]
            channels = narrower
        layers.append(nn.ConvTranspose2d(channels, params.channels, 4, 2, 1))
        self.layers = nn.Sequential(*layers)

    def logits(self, latents: Tensor) -> Tensor:
        """What the sigmoid would turn into images; a Bernoulli likelihood is stable on these."""
        return self.layers(latents)

    def forward(self, latents: Tensor) -> Tensor:
        output = self.layers(latents)
        return output.sigmoid() if self.params.sigmoid else output
