"""Adversarial training: a generator against a discriminator."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from train import losses
from train.augment import Augmentation, augment
from train.networks.network import any_of, pack_of
from train.objectives.history import WeightHistory
from train.objectives.objective import AdamParams, Batch, Losses, Phase
from train.objectives.terms import Term, with_terms

GANParams = Annotated[Any, any_of("gan", default="dcgan")]
"""The params of both networks, of any kind that is registered."""


@dataclass(frozen=True)
class Adversarial:
    """Settings of a generative adversarial network."""

    network: GANParams
    generator: AdamParams = field(default_factory=lambda: AdamParams(2e-4, (0.5, 0.999)))
    discriminator: AdamParams = field(default_factory=lambda: AdamParams(2e-4, (0.5, 0.999)))
    loss: str = "non_saturating"
    """Key of `train.losses.ADVERSARIAL`."""
    label_noise: float = 0.0
    """Largest uniform noise on the discriminator's targets, where the loss has targets."""
    label_smoothing: float = 0.0
    """One-sided: taken off the targets of real images only."""
    r1: float = 0.0
    """Weight (gamma) of the zero-centred gradient penalty on real images; 0 leaves it out."""
    r2: float = 0.0
    """The same on generated images."""
    gradient_penalty: float = 0.0
    """Weight (lambda) of the one-centred gradient penalty between real and generated images."""
    weight_clip: float = 0.0
    """The discriminator's weights stay within +- this; 0 leaves them free."""
    critic_steps: int = 1
    """Steps of the discriminator for one of the generator; each takes a batch and counts."""
    feature_matching: bool = False
    """The generator matches the mean features of real images instead of the loss's own target."""
    historical_averaging: float = 0.0
    """Weight of each network's distance from the mean of its own past weights."""
    auxiliary: float = 1.0
    """Weight of the cross-entropy of the labels, where the discriminator classifies."""
    augmentation: tuple[Augmentation, ...] = ()
    prior: Literal["normal", "uniform"] = "normal"
    """Latents from N(0, I), or uniform in [-1, 1] (for comparison; a run's decoder makes them of
    normal ones)."""
    kind: Literal["gan"] = "gan"

    def __post_init__(self) -> None:
        loss = losses.adversarial(self.loss)
        if not loss.targets and (self.label_noise or self.label_smoothing):
            raise ValueError(
                f"label_noise and label_smoothing: expected 0 with the {self.loss} loss"
            )
        if loss.paired and self.feature_matching:
            raise ValueError(
                f"feature_matching: expected False with the {self.loss} loss, whose generator it "
                "would leave without its pairs"
            )
        if self.critic_steps < 1:
            raise ValueError(f"critic_steps: expected at least 1, found {self.critic_steps}")
        penalised = self.r1 or self.r2 or self.gradient_penalty
        if penalised and not self.network.judges_alone:
            raise ValueError(
                "r1, r2 and gradient_penalty: expected 0 where the discriminator has batch norm or "
                "the minibatch's deviation: the gradient at one image means nothing where its "
                "score depends on the others"
            )

    def build(self) -> "GANObjective":
        return GANObjective(self)


class GANObjective:
    def __init__(self, settings: Adversarial) -> None:
        self.settings = settings
        self.loss = losses.adversarial(settings.loss)
        self.generator, self.discriminator = settings.network.build()
        self.networks = nn.ModuleDict(
            {"generator": self.generator, "discriminator": self.discriminator}
        )
        self.histories = {
            name: WeightHistory(network)
            for name, network in self.networks.items()
            if settings.historical_averaging
        }
        self.networks.update({f"{name}_history": past for name, past in self.histories.items()})
        self.model = nn.ModuleDict({"decoder": self.generator})
        self.phases = {
            "discriminator": Phase(
                self.discriminator,
                self._discriminator_losses,
                settings.discriminator,
                constrain=self._clip if settings.weight_clip else None,
            ),
            "generator": Phase(
                self.generator,
                self._generator_losses,
                settings.generator,
                every=settings.critic_steps,
            ),
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

    def _judge(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and features of images after their augmentation."""
        augmented = augment(images, self.settings.augmentation)
        scores, features = self.discriminator.judge(augmented, labels)
        return scores.float(), features.float()

    def _discriminator_losses(self, images: Tensor, labels: Tensor) -> Losses:
        with torch.no_grad():
            fakes = self._fakes(labels)
        # R1 and R2 are of the slopes of these very scores, which saves passes of their own.
        images = images.detach().requires_grad_(self.settings.r1 > 0)
        fakes.requires_grad_(self.settings.r2 > 0)
        # Two passes: batch norm must see real and generated images apart (Radford et al. 2016).
        real, real_features = self._judge(images, labels)
        fake, fake_features = self._judge(fakes, labels)
        softening = {
            "noise": self.settings.label_noise,
            "smoothing": self.settings.label_smoothing,
        }
        loss = self.loss.discriminator(real, fake, **softening if self.loss.targets else {})
        terms = chain(
            self._slope("r1", self.settings.r1, real, images),
            self._slope("r2", self.settings.r2, fake, fakes),
            self._interpolated(images, fakes, labels),
            self._labelled("real", real_features, labels),
            self._labelled("fake", fake_features, labels),
            self._history("discriminator"),
        )
        return with_terms(loss, terms) | {"real": real.mean(), "fake": fake.mean()}

    def _generator_losses(self, images: Tensor, labels: Tensor) -> Losses:
        fake, features = self._judge(self._fakes(labels), labels)
        if self.settings.feature_matching:
            loss = losses.feature_matching(self._judge(images, labels)[1], features)
        elif self.loss.paired:
            loss = self.loss.generator(self._judge(images, labels)[0], fake)
        else:
            loss = self.loss.generator(fake)
        terms = chain(self._labelled("fake", features, labels), self._history("generator"))
        return with_terms(loss, terms)

    def _slope(self, name: str, weight: float, scores: Tensor, images: Tensor) -> Iterator[Term]:
        if weight:
            yield name, weight, losses.zero_centred_penalty(scores, images)

    def _interpolated(self, images: Tensor, fakes: Tensor, labels: Tensor) -> Iterator[Term]:
        if weight := self.settings.gradient_penalty:
            # In fp32: squared gradients of bf16 scores, whose length is to be 1, are too coarse.
            with torch.autocast(images.device.type, enabled=False):
                between = losses.interpolated(images, fakes, pack_of(self.settings.network))
                points = between.detach().requires_grad_()
                scores = self._judge(points, labels)[0]
                yield "gradient_penalty", weight, losses.one_centred_penalty(scores, points)

    def _labelled(self, name: str, features: Tensor, labels: Tensor) -> Iterator[Term]:
        """The auxiliary classifier's error on the labels (Odena et al. 2017, eq. 3)."""
        if self.discriminator.classify is not None:
            logits = self.discriminator.classify(features).float()
            nats = functional.cross_entropy(logits, labels)
            yield f"{name}_class", self.settings.auxiliary, nats

    def _history(self, name: str) -> Iterator[Term]:
        if name in self.histories:
            distance = self.histories[name](self.networks[name])
            yield "history", self.settings.historical_averaging, distance

    @torch.no_grad()
    def _clip(self) -> None:
        bound = self.settings.weight_clip
        for parameter in self.discriminator.parameters():
            parameter.clamp_(-bound, bound)
