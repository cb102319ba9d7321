"""The encoder of a VAE around a DCGAN, whose generator is the decoder.

Of one such set of params a plain VAE is made (`ELBO`, which has no use for the discriminator), and
a VAE/GAN or an alpha-GAN (`Hybrid`): encoder and decoder are the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from train.networks.dcgan import DCGANParams, Discriminator, Generator
from train.networks.network import network
from train.networks.posterior import Posterior
from train.networks.vae import Encoder, VAEParams


@network("vae")
@dataclass(frozen=True)
class EncodedGANParams:
    """Size of the three networks."""

    gan: DCGANParams
    """The decoder is its generator; its discriminator judges."""
    widths: tuple[int, ...] = (32, 64)
    """Channels of the encoder's convolutions, from the image inwards; each halves the sides."""
    hidden: int = 256
    """Width of the encoder's dense layers."""
    depth: int = 1
    """Number of the encoder's dense layers, at least 1."""
    sigmoid: ClassVar[bool] = False
    """The decoder ends in tanh (images in [-1, 1]), so pixels are Gaussian and not Bernoulli."""
    kind: Literal["encoded_gan"] = "encoded_gan"

    def __post_init__(self) -> None:
        if self.gan.pack > 1 or self.gan.discriminator_labels == "classify":
            raise ValueError(
                "gan: expected a discriminator that judges one image at a time and no labels, "
                f"found pack {self.gan.pack}, labels {self.gan.discriminator_labels!r}"
            )

    @property
    def latent(self) -> int:
        return self.gan.latent

    @property
    def height(self) -> int:
        return self.gan.height

    @property
    def width(self) -> int:
        return self.gan.width

    @property
    def channels(self) -> int:
        return self.gan.channels

    @property
    def classes(self) -> int:
        return self.gan.classes

    def build(
        self, flow: Callable[[Encoder], Posterior] | None = None
    ) -> tuple[Posterior, Generator]:
        """Encoder and decoder; with `flow`, the posterior is an inverse autoregressive flow."""
        encoder = Encoder(
            VAEParams(
                latent=self.latent,
                height=self.height,
                width=self.width,
                channels=self.channels,
                widths=self.widths,
                hidden=self.hidden,
                depth=self.depth,
            )
        )
        return flow(encoder) if flow else encoder, Generator(self.gan)

    def discriminator(self) -> Discriminator:
        return Discriminator(self.gan)
