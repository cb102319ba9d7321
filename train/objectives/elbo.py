"""The evidence lower bound: variational autoencoders."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from train import losses
from train.networks import Decoder, Encoder, VAEParams
from train.objectives.objective import AdamParams, Batch, Losses, Phase


@dataclass(frozen=True)
class ELBO:
    """Settings of a variational autoencoder: minimise reconstruction + beta * KL."""

    network: VAEParams
    optimizer: AdamParams
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    """Bernoulli: grey values in [0, 1] are means of Bernoulli pixels; gaussian: fixed scale."""
    gaussian_log_scale: float = -2.0
    beta: float = 1.0
    kind: Literal["vae"] = "vae"

    def __post_init__(self) -> None:
        if self.likelihood == "bernoulli" and not self.network.sigmoid:
            raise ValueError("network.sigmoid: expected True with the Bernoulli likelihood")

    def build(self) -> "VAEObjective":
        return VAEObjective(self)


class VAEObjective:
    def __init__(self, settings: ELBO) -> None:
        self.settings = settings
        self.networks = self.model = nn.ModuleDict(
            {"encoder": Encoder(settings.network), "decoder": Decoder(settings.network)}
        )
        self.phases = {"elbo": Phase(self.networks, self._losses, settings.optimizer)}

    def latents(self, count: int, device: torch.device) -> Tensor:
        return torch.randn(count, self.settings.network.latent, device=device)

    def _terms(self, model: nn.ModuleDict, images: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction and KL, each nats [B], with one latent draw per image."""
        decoder = cast(Decoder, model["decoder"])
        mean, log_variance = (moment.float() for moment in model["encoder"](images))
        latents = losses.reparameterise(mean, log_variance, torch.randn_like(mean))
        if self.settings.likelihood == "bernoulli":
            nll = losses.bernoulli_nll(decoder.logits(latents).float(), images)
        else:
            scale = self.settings.gaussian_log_scale
            nll = losses.gaussian_nll(decoder(latents).float(), images, scale)
        return nll, losses.gaussian_kl(mean, log_variance)

    def _losses(self, images: Tensor, labels: Tensor) -> Losses:
        nll, kl = self._terms(self.model, images)
        return {
            "loss": losses.negative_elbo(nll, kl, self.settings.beta),
            "reconstruction": nll.mean(),
            "kl": kl.mean(),
        }

    def evaluate(self, model: nn.ModuleDict, batches: Iterable[Batch]) -> dict[str, float]:
        """Mean reconstruction + KL (beta 1) in nats per image, one latent draw per image."""
        terms = [self._terms(model, images) for images, _ in batches]
        nll = torch.cat([term[0] for term in terms]).double().mean().item()
        kl = torch.cat([term[1] for term in terms]).double().mean().item()
        return {"test_loss": nll + kl, "test_reconstruction": nll, "test_kl": kl}
