"""The evidence lower bound: variational autoencoders, with one or several stochastic layers."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, cast

import torch
from torch import Tensor, nn

from train import gaussian, losses
from train.networks.iaf import IAFParams
from train.networks.network import any_of, noise_of
from train.networks.posterior import Draw, Posterior
from train.objectives.objective import AdamParams, Batch, Losses, Phase, binarised

Network = Annotated[Any, any_of("vae", default="vae")]
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
    draws: int = 1
    """Posterior draws an image. Of several, the loss is the importance-weighted bound (Burda et al.
    2016, arXiv:1509.00519, eq. 8), which is tighter than the ELBO; but for the warm-up, where it is
    the ELBO: the best of many draws from a poor posterior teach it little."""
    kind: Literal["vae"] = "vae"

    def __post_init__(self) -> None:
        if self.likelihood == "bernoulli" and not self.network.sigmoid:
            raise ValueError("network.sigmoid: expected True with the Bernoulli likelihood")
        if self.likelihood != "bernoulli" and self.binarise:
            raise ValueError("binarise: expected False without the Bernoulli likelihood")
        if self.flow is not None and noise_of(self.network):
            raise ValueError("flow: expected None with several stochastic layers")
        if self.draws < 1:
            raise ValueError(f"draws: expected at least 1, found {self.draws}")

    def build(self) -> "VAEObjective":
        return VAEObjective(self)


class Decoder(Protocol):
    """What the likelihood needs of a decoder."""

    def logits(self, latents: Tensor, labels: Tensor | None = None) -> Tensor: ...


class VAEObjective:
    def __init__(self, settings: ELBO) -> None:
        self.settings = settings
        flow = settings.flow and settings.flow.build
        encoder, decoder = settings.network.build(flow)
        self.networks = self.model = nn.ModuleDict({"encoder": encoder, "decoder": decoder})
        self.noise = settings.network.latent + sum(noise_of(settings.network))
        """Numbers from N(0, 1) that one posterior draw takes: as many as all latents have."""
        self.beta = settings.beta
        self.phases = {
            "elbo": Phase(self.networks, self._losses, settings.optimizer, schedule=self._warm)
        }

    def latents(self, count: int, device: torch.device) -> Tensor:
        return torch.randn(count, self.settings.network.latent, device=device)

    def log_weights(
        self, model: nn.ModuleDict, images: Tensor, noise: Tensor, labels: Tensor | None = None
    ) -> Tensor:
        """log p(x|z) + log p(z) - log q(z|x), nats [N], of images [B, C, H, W] and posterior draws
        z made from noise [N, `noise`], N / B of them in a row for each image; of a conditional
        decoder, p(x|z, label) with the images' labels int64 [B]."""
        draw = self._draw(model, images, noise)
        return -draw.log_ratio - self._nll(model, draw, images, labels)

    def _draw(self, model: nn.ModuleDict, images: Tensor, noise: Tensor) -> Draw:
        encoder = cast(Posterior, model["encoder"])
        features = _rows(encoder.features(images), len(noise))
        return encoder.draw(features, noise, model["decoder"])

    def _nll(
        self, model: nn.ModuleDict, draw: Draw, images: Tensor, labels: Tensor | None = None
    ) -> Tensor:
        """-log p(x|z), nats [N]."""
        count = len(draw.latents)
        decoder = cast(Decoder, model["decoder"])
        if labels is None or not self.settings.network.classes:
            logits = decoder.logits(draw.latents).float()
        else:
            logits = decoder.logits(draw.latents, _rows(labels, count)).float()
        images = _rows(images, count)
        if self.settings.likelihood == "bernoulli":
            return losses.bernoulli_nll(logits, images)
        means = logits.sigmoid() if self.settings.network.sigmoid else logits
        return gaussian.nll(means, images, self.settings.gaussian_log_scale)

    def _drawn(
        self, model: nn.ModuleDict, images: Tensor, labels: Tensor, draws: int
    ) -> tuple[Tensor, Draw]:
        """Reconstruction, nats [B * draws], and the draws that it is of."""
        noise = torch.randn(draws * len(images), self.noise, device=images.device)
        draw = self._draw(model, images, noise)
        return self._nll(model, draw, images, labels), draw

    def _warm(self, progress: float) -> None:
        share = self.settings.warm_up
        self.beta = self.settings.beta * (min(1.0, progress / share) if share else 1.0)

    def _losses(self, images: Tensor, labels: Tensor) -> Losses:
        if self.settings.binarise:
            images = binarised(images)
        draws = self.settings.draws if self.beta == self.settings.beta else 1
        nll, draw = self._drawn(self.model, images, labels, draws)
        if draws == 1:
            loss = losses.negative_elbo(nll, draw.kl, self.beta)
        else:
            log_weights = -nll - self.beta * draw.log_ratio
            loss = losses.negative_weighted_bound(log_weights.view(len(images), -1))
        return {
            "loss": loss,
            "reconstruction": nll.mean(),
            "kl": draw.kl.mean(),
        }

    def evaluate(self, model: nn.ModuleDict, batches: Iterable[Batch]) -> dict[str, float]:
        """Mean reconstruction + KL (beta 1) in nats per image, one latent draw per image."""
        terms = [self._drawn(model, images, labels, 1) for images, labels in batches]
        nll = torch.cat([nll for nll, _ in terms]).double().mean().item()
        kl = torch.cat([draw.kl for _, draw in terms]).double().mean().item()
        return {"test_loss": nll + kl, "test_reconstruction": nll, "test_kl": kl}


def _rows(values: Tensor, count: int) -> Tensor:
    """Values [B, ...] -> [count, ...], each as often as the others, those of one image in a row."""
    copies = count // len(values)
    return values[:, None].expand(-1, copies, *values.shape[1:]).flatten(0, 1)
