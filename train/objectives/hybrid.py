"""GANs with an encoder: VAE/GAN and alpha-GAN.

Three networks and two questions. By what is a reconstruction compared with its image: by features
of the discriminator (VAE/GAN, Larsen et al. 2016, arXiv:1512.09300) or by pixels (alpha-GAN, Rosca
et al. 2017, arXiv:1706.04987)? And what holds the posterior to the prior: its KL divergence
(VAE/GAN) or a discriminator of latents (alpha-GAN)? `Hybrid` states both answers.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from train import gaussian, losses
from train.augment import Augmentation, augment
from train.networks.encoded_gan import EncodedGANParams
from train.networks.mlp import leaky_layers
from train.networks.network import only
from train.objectives.objective import AdamParams, Batch, Losses, Phase

Network = Annotated[Any, only(EncodedGANParams)]
"""The params of encoder, decoder and discriminator."""


def _adam() -> AdamParams:
    return AdamParams(2e-4, (0.5, 0.999))


@dataclass(frozen=True)
class Hybrid:
    """Settings of a GAN with an encoder."""

    network: Network
    compare: Literal["features", "pixels"]
    """A reconstruction's error, a sum over one image: half the squared distance in the
    discriminator's last features (a Gaussian of variance 1, Larsen et al.), or the absolute
    distance of the pixels (Rosca et al.)."""
    match: Literal["divergence", "codes"]
    """The posterior is held to the prior by its KL divergence, or by a discriminator of latents.
    Rosca et al. leave the posterior's form open; here it is a diagonal Gaussian in both cases."""
    encoder_weight: float = 1.0
    """Of the reconstruction's error in the encoder's loss."""
    generator_weight: float = 1.0
    """The same in the generator's: gamma of Larsen et al., lambda of Rosca et al."""
    encoder: AdamParams = field(default_factory=_adam)
    generator: AdamParams = field(default_factory=_adam)
    discriminator: AdamParams = field(default_factory=_adam)
    """Of both discriminators, where there are two."""
    loss: str = "non_saturating"
    """Key of `train.losses.ADVERSARIAL`, of a loss without pairs; of both discriminators. Rosca et
    al. raise the score itself, log D / (1 - D), which estimates a ratio of densities; the recipes
    here raise log D alone, which pulls less the more real a picture seems."""
    code_hidden: int = 256
    """Width of the two layers of the discriminator of latents."""
    augmentation: tuple[Augmentation, ...] = ()
    """Of what the discriminator scores; what is compared stays as it is."""
    kind: Literal["hybrid"] = "hybrid"

    def __post_init__(self) -> None:
        losses.adversarial(self.loss, paired=False)
        if self.compare == "features" and self.network.gan.dropout:
            raise ValueError("network.gan.dropout: expected 0 where features are compared")

    def build(self) -> "HybridObjective":
        return HybridObjective(self)


class HybridObjective:
    """One phase a network, as the papers have it: no gradient of the adversarial term reaches the
    encoder, and none of the reconstruction's error the discriminator."""

    def __init__(self, settings: Hybrid) -> None:
        self.settings = settings
        self.loss = losses.adversarial(settings.loss)
        self.encoder, self.generator = settings.network.build()
        self.discriminator = settings.network.discriminator()
        self.networks = nn.ModuleDict(
            {
                "encoder": self.encoder,
                "generator": self.generator,
                "discriminator": self.discriminator,
            }
        )
        self.model = nn.ModuleDict({"decoder": self.generator, "encoder": self.encoder})
        self.phases = {
            "discriminator": Phase(
                self.discriminator, self._discriminator_losses, settings.discriminator
            ),
            "encoder": Phase(self.encoder, self._encoder_losses, settings.encoder),
            "generator": Phase(self.generator, self._generator_losses, settings.generator),
        }
        self.codes = None
        if settings.match == "codes":
            hidden = settings.code_hidden
            self.codes = nn.Sequential(
                leaky_layers(settings.network.latent, hidden, 2),
                nn.Linear(hidden, 1),
                nn.Flatten(0),
            )
            self.networks["codes"] = self.codes
            codes = Phase(self.codes, self._codes_losses, settings.discriminator)
            self.phases = {"codes": codes} | self.phases

    def latents(self, count: int, device: torch.device) -> Tensor:
        return torch.randn(count, self.settings.network.latent, device=device)

    def evaluate(self, model: nn.ModuleDict, batches: Iterable[Batch]) -> dict[str, float]:
        """Of reconstructions from the posterior's means: the root of the mean squared error, in
        units of the value range; and the KL divergence of the posterior from the prior, nats."""
        squares, divergences = [], []
        for images, labels in batches:
            mean, log_variance = (moment.float() for moment in model["encoder"](images))
            rebuilt = model["decoder"](mean, labels).float()
            squares.append((rebuilt - images).square().flatten(1).mean(1))
            divergences.append(gaussian.kl(mean, log_variance))
        error = torch.cat(squares).double().mean().item()
        return {
            "test_error": math.sqrt(error),
            "test_kl": torch.cat(divergences).double().mean().item(),
        }

    def _encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """One latent of each image's posterior [B, Z], and KL(posterior || prior), nats [B]."""
        mean, log_variance = (moment.float() for moment in self.encoder(images))
        latents = gaussian.reparameterise(mean, log_variance, torch.randn_like(mean))
        return latents, gaussian.kl(mean, log_variance)

    def _rebuilt_and_made(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstructions, and behind them samples from the prior: [2 B, C, H, W], their labels."""
        with torch.no_grad():
            latents, _ = self._encode(images)
        labels = torch.cat([labels, labels])
        drawn = self.latents(len(images), images.device)
        return self.generator(torch.cat([latents, drawn]), labels).float(), labels

    def _score(self, images: Tensor, labels: Tensor) -> Tensor:
        augmented = augment(images, self.settings.augmentation)
        return self.discriminator(augmented, labels).float()

    def _error(self, rebuilt: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """The mean over the batch of `Hybrid.compare`."""
        if self.settings.compare == "pixels":
            return (rebuilt - images).abs().flatten(1).sum(1).mean()
        with torch.no_grad():
            wanted = self.discriminator.judge(images, labels)[1].float()
        found = self.discriminator.judge(rebuilt, labels)[1].float()
        return 0.5 * (found - wanted).square().sum(1).mean()

    def _encoder_losses(self, images: Tensor, labels: Tensor) -> Losses:
        latents, kl = self._encode(images)
        rebuilt = self.generator(latents, labels).float()
        error = self._error(rebuilt, images, labels)
        if self.codes is None:
            prior = kl.mean()
        else:
            prior = self.loss.generator(self.codes(latents).float())
        loss = self.settings.encoder_weight * error + prior
        return {"loss": loss, "error": error, "prior": prior, "kl": kl.mean()}

    def _generator_losses(self, images: Tensor, labels: Tensor) -> Losses:
        fakes, fake_labels = self._rebuilt_and_made(images, labels)
        error = self._error(fakes[: len(images)], images, labels)
        realism = self.loss.generator(self._score(fakes, fake_labels))
        loss = self.settings.generator_weight * error + realism
        return {"loss": loss, "error": error, "realism": realism}

    def _discriminator_losses(self, images: Tensor, labels: Tensor) -> Losses:
        with torch.no_grad():
            fakes, fake_labels = self._rebuilt_and_made(images, labels)
        real, fake = self._score(images, labels), self._score(fakes, fake_labels)
        rebuilt, made = fake.chunk(2)
        return {
            "loss": self.loss.discriminator(real, fake),
            "real": real.mean(),
            "rebuilt": rebuilt.mean(),
            "fake": made.mean(),
        }

    def _codes_losses(self, images: Tensor, labels: Tensor) -> Losses:
        assert self.codes is not None  # noqa: S101 - the phase exists only with it
        with torch.no_grad():
            latents, _ = self._encode(images)
        drawn = self.codes(self.latents(len(images), images.device)).float()
        encoded = self.codes(latents).float()
        return {
            "loss": self.loss.discriminator(drawn, encoded),
            "drawn": drawn.mean(),
            "encoded": encoded.mean(),
        }
