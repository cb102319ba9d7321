"""The evidence lower bound: variational autoencoders."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn

from train import losses
from train.networks.iaf import IAFParams
from train.networks.network import any_of
from train.networks.vae import Decoder
from train.objectives.objective import AdamParams, Batch, Losses, Phase

if TYPE_CHECKING:
    Network = Any
else:
    Network = any_of("vae", default="vae")
"""The params of encoder and decoder, of any kind that is registered."""


@dataclass(frozen=True)
class ELBO:
    """Settings of a variational autoencoder: minimise reconstruction + beta * KL."""

    network: Network
    optimizer: AdamParams
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    """Bernoulli: grey values in [0, 1] are means of Bernoulli pixels; gaussian: fixed scale."""
    binarise: bool = False
    """Train on binary pixels, drawn again at every step with the grey values as their means."""
    gaussian_log_scale: float = -2.0
    beta: float = 1.0
    warm_up: float = 0.0
    """The share of the steps in which beta rises to its value from 0 (Sønderby et al. 2016,
    arXiv:1602.02282): fewer dimensions give up before the decoder has learned to use them."""
    flow: IAFParams | None = None
    """Bends the posterior by an inverse autoregressive flow; None: a diagonal Gaussian."""
    kind: Literal["vae"] = "vae"

    def __post_init__(self) -> None:
        if self.likelihood == "bernoulli" and not self.network.sigmoid:
            raise ValueError("network.sigmoid: expected True with the Bernoulli likelihood")
        if self.likelihood != "bernoulli" and self.binarise:
            raise ValueError("binarise: expected False without the Bernoulli likelihood")

    def build(self) -> "VAEObjective":
        return VAEObjective(self)


class VAEObjective:
    def __init__(self, settings: ELBO) -> None:
        self.settings = settings
        flow = settings.flow and settings.flow.build
        encoder, decoder = settings.network.build(flow)
        self.networks = self.model = nn.ModuleDict({"encoder": encoder, "decoder": decoder})
        self.beta = settings.beta
        self.phases = {
            "elbo": Phase(self.networks, self._losses, settings.optimizer, schedule=self._warm)
        }

    def latents(self, count: int, device: torch.device) -> Tensor:
        return torch.randn(count, self.settings.network.latent, device=device)

    def log_weights(self, model: nn.ModuleDict, image: Tensor, noise: Tensor) -> Tensor:
        """log p(x|z) + log p(z) - log q(z|x), nats [S], of one image [1, C, H, W] and posterior
        draws z made from noise [S, Z]."""
        latents, log_density, _ = self._posterior(model, image, noise)
        nll = self._nll(model, latents, image.expand(len(latents), *image.shape[1:]))
        return losses.normal_log_density(latents) - log_density - nll

    def _posterior(
        self, model: nn.ModuleDict, images: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Latents z [B, Z], log q(z|x) [B], and KL(q || N(0, I)) [B]: in closed form where there
        is one, else as its estimate from this one draw."""
        if self.settings.flow is not None:
            latents, log_density = (value.float() for value in model["encoder"](images, noise))
            return latents, log_density, log_density - losses.normal_log_density(latents)
        mean, log_variance = (moment.float() for moment in model["encoder"](images))
        latents = losses.reparameterise(mean, log_variance, noise)
        log_density = losses.normal_log_density(noise) - 0.5 * log_variance.sum(1)
        return latents, log_density, losses.gaussian_kl(mean, log_variance)

    def _nll(
        self, model: nn.ModuleDict, latents: Tensor, images: Tensor, labels: Tensor | None = None
    ) -> Tensor:
        """-log p(x|z), nats [B]."""
        decoder = cast(Decoder, model["decoder"])
        shown = (labels,) if self.settings.network.classes else ()
        if self.settings.likelihood == "bernoulli":
            return losses.bernoulli_nll(decoder.logits(latents, *shown).float(), images)
        scale = self.settings.gaussian_log_scale
        return losses.gaussian_nll(decoder(latents, *shown).float(), images, scale)

    def _terms(self, model: nn.ModuleDict, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction and KL, each nats [B], with one latent draw per image."""
        latents, _, kl = self._posterior(model, images, self.latents(len(images), images.device))
        return self._nll(model, latents, images, labels), kl

    def _warm(self, progress: float) -> None:
        share = self.settings.warm_up
        self.beta = self.settings.beta * (min(1.0, progress / share) if share else 1.0)

    def _losses(self, images: Tensor, labels: Tensor) -> Losses:
        if self.settings.binarise:
            images = (torch.rand_like(images) < images).float()
        nll, kl = self._terms(self.model, images, labels)
        return {
            "loss": losses.negative_elbo(nll, kl, self.beta),
            "reconstruction": nll.mean(),
            "kl": kl.mean(),
        }

    def evaluate(self, model: nn.ModuleDict, batches: Iterable[Batch]) -> dict[str, float]:
        """Mean reconstruction + KL (beta 1) in nats per image, one latent draw per image."""
        terms = [self._terms(model, images, labels) for images, labels in batches]
        nll = torch.cat([term[0] for term in terms]).double().mean().item()
        kl = torch.cat([term[1] for term in terms]).double().mean().item()
        return {"test_loss": nll + kl, "test_reconstruction": nll, "test_kl": kl}
