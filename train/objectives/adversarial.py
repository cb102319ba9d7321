"""Adversarial training: a generator against a discriminator."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from train import losses
from train.augment import Augmentation, augment
from train.networks import DCGANParams, Discriminator, Generator
from train.objectives.objective import AdamParams, Batch, Losses, Phase


@dataclass(frozen=True)
class Adversarial:
    """Settings of a generative adversarial network."""

    network: DCGANParams
    generator: AdamParams = field(default_factory=lambda: AdamParams(2e-4, (0.5, 0.999)))
    discriminator: AdamParams = field(default_factory=lambda: AdamParams(2e-4, (0.5, 0.999)))
    loss: Literal["non_saturating", "minimax", "hinge"] = "non_saturating"
    label_noise: float = 0.0
    """Largest uniform noise on the discriminator's targets; the hinge loss has no targets."""
    label_smoothing: float = 0.0
    """One-sided: taken off the targets of real images only."""
    r1: float = 0.0
    """Weight of the R1 gradient penalty; 0 leaves it out."""
    r1_images: int = 8
    """Real images of each batch on which the penalty is estimated."""
    augmentation: tuple[Augmentation, ...] = ()
    prior: Literal["normal", "uniform"] = "normal"
    """Latents from N(0, I), or uniform in [-1, 1] (for comparison; not exportable)."""
    kind: Literal["gan"] = "gan"

    def __post_init__(self) -> None:
        if self.loss == "hinge" and (self.label_noise or self.label_smoothing):
            raise ValueError("label_noise and label_smoothing: expected 0 with the hinge loss")

    def build(self) -> "GANObjective":
        return GANObjective(self)


class GANObjective:
    def __init__(self, settings: Adversarial) -> None:
        self.settings = settings
        self.generator = Generator(settings.network)
        self.discriminator = Discriminator(settings.network)
        self.networks = nn.ModuleDict(
            {"generator": self.generator, "discriminator": self.discriminator}
        )
        self.model = nn.ModuleDict({"decoder": self.generator})
        self.phases = {
            "discriminator": Phase(
                self.discriminator, self._discriminator_losses, settings.discriminator
            ),
            "generator": Phase(self.generator, self._generator_losses, settings.generator),
        }

    def evaluate(self, model: nn.ModuleDict, batches: Iterable[Batch]) -> dict[str, float]:
        return {}

    def latents(self, count: int, device: torch.device) -> Tensor:
        latents = torch.empty(count, self.settings.network.latent, device=device)
        return latents.normal_() if self.settings.prior == "normal" else latents.uniform_(-1, 1)

    def _fakes(self, labels: Tensor) -> Tensor:
        latents = self.latents(len(labels), labels.device)
        # Augmentation and losses run in fp32 whatever the networks' precision.
        return self.generator(latents, labels).float()

    def _score(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.discriminator(augment(images, self.settings.augmentation), labels).float()

    def _discriminator_losses(self, images: Tensor, labels: Tensor) -> Losses:
        with torch.no_grad():
            fakes = self._fakes(labels)
        # Two passes: batch norm must see real and generated images apart (Radford et al. 2016).
        real, fake = self._score(images, labels), self._score(fakes, labels)
        if self.settings.loss == "hinge":
            loss = losses.discriminator_hinge(real, fake)
        else:
            noise, smoothing = self.settings.label_noise, self.settings.label_smoothing
            loss = losses.discriminator_cross_entropy(
                real,
                fake,
                losses.noisy_targets(real, True, noise, smoothing),
                losses.noisy_targets(fake, False, noise),
            )
        report = {"real": real.mean(), "fake": fake.mean()}
        if self.settings.r1:
            report["r1"] = penalty = self._penalty(images, labels)
            loss = loss + self.settings.r1 * penalty
        return {"loss": loss} | report

    def _penalty(self, images: Tensor, labels: Tensor) -> Tensor:
        # In fp32: squared gradients of bf16 scores are too coarse.
        with torch.autocast(images.device.type, enabled=False):
            some = images[: self.settings.r1_images].requires_grad_()
            scores = self._score(some, labels[: len(some)])
            return losses.gradient_penalty_r1(scores, some)

    def _generator_losses(self, images: Tensor, labels: Tensor) -> Losses:
        fake = self._score(self._fakes(labels), labels)
        return {"loss": _GENERATOR_LOSSES[self.settings.loss](fake)}


_GENERATOR_LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "non_saturating": losses.generator_non_saturating,
    "minimax": losses.generator_minimax,
    "hinge": losses.generator_hinge,
}
