"""Inverse autoregressive flow: a posterior that bends a diagonal Gaussian, still with its density.

Kingma et al. (2016), arXiv:1606.04934, algorithm 1; its autoregressive networks are masked ones
(Germain et al. 2015, MADE, arXiv:1502.03509). A step moves each latent by what lies before it, all
in one pass; the next step takes them in reverse.

Shapes: B batch, Z latent size, F width of the context.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from train import gaussian
from train.networks.posterior import Draw, Posterior
from train.networks.vae import Encoder


@dataclass(frozen=True)
class IAFParams:
    """Size of the flow."""

    steps: int = 4
    hidden: int = 320
    """Width of each step's masked network, one hidden layer."""
    context: int = 64
    """Width of the image's features that every step takes: h of the paper."""
    open_gate: float = 2.0
    """Bias of the gates at the start: sigmoid(2) keeps 88% of each latent in each step."""

    def build(self, encoder: Encoder) -> "FlowEncoder":
        return FlowEncoder(encoder, self)


class MaskedLinear(nn.Linear):
    """A dense layer in which output i sees input j only where mask[i, j] is 1."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        return functional.linear(values, self.weight * self.mask, self.bias)


class AutoregressiveNetwork(nn.Module):
    """Latents [B, Z] and context [B, F] -> shift and gate logit of each latent, [B, Z] each.

    Those of latent i depend on the latents before i (after i where `reverse`) and on the context.
    """

    def __init__(self, latent: int, params: IAFParams, reverse: bool) -> None:
        super().__init__()
        order = torch.arange(latent)
        if reverse:
            order = order.flip(0)
        # A hidden unit of degree d sees the latents up to place d of the order (MADE, eq. 8), and
        # is seen only by those after it (eq. 9). Of degree -1 it sees the context alone, which is
        # all that the first latent can depend on.
        degree = torch.arange(params.hidden) % latent - 1
        self.hidden = MaskedLinear((degree[:, None] >= order[None, :]).float())
        self.context = nn.Linear(params.context, params.hidden, bias=False)
        self.shift_and_gate = MaskedLinear((order.repeat(2)[:, None] > degree[None, :]).float())
        with torch.no_grad():
            # Nearly the identity at first: the posterior starts as the Gaussian it bends.
            self.shift_and_gate.weight.mul_(0.1)
            self.shift_and_gate.bias.zero_()
            self.shift_and_gate.bias[latent:] += params.open_gate

    def forward(self, latents: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        hidden = functional.gelu(self.hidden(latents) + self.context(context))
        shift, gate = self.shift_and_gate(hidden).chunk(2, dim=1)
        return shift, gate


class FlowEncoder(Posterior):
    """Images [B, C, H, W] and noise [B, Z] from N(0, I) -> latents [B, Z], log q(z|x) [B] in nats.

    The image's part may have a batch of 1 for many rows of noise. Nothing in here is random.
    """

    def __init__(self, base: Encoder, flow: IAFParams) -> None:
        super().__init__()
        params = base.params
        self.base = base
        self.context = nn.Linear(params.hidden, flow.context)
        self.steps = nn.ModuleList(
            AutoregressiveNetwork(params.latent, flow, reverse=step % 2 == 1)
            for step in range(flow.steps)
        )

    def features(self, images: Tensor) -> Tensor:
        return self.base.layers(images)

    def draw(self, features: Tensor, noise: Tensor, decoder: nn.Module) -> Draw:
        latents, log_density = self._bend(features, noise)
        log_ratio = log_density - gaussian.normal_log_density(latents)
        return Draw(latents, log_ratio, log_ratio)

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        return self._bend(self.features(images), noise)

    def _bend(self, features: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Latents and densities are of the noise's dtype, whatever the networks' precision."""
        context = self.context(features)
        mean, log_variance = self.base.moments(features).to(noise.dtype).chunk(2, dim=1)
        latents = mean + (0.5 * log_variance).exp() * noise
        log_density = -0.5 * (noise.square() + log_variance + math.log(2 * math.pi)).sum(1)
        for step in self.steps:
            shift, gate = (value.to(noise.dtype) for value in step(latents, context))
            # sigma * z + (1 - sigma) * m: each latent's Jacobian is its gate.
            latents = torch.lerp(shift, latents, gate.sigmoid())
            log_density = log_density - functional.logsigmoid(gate).sum(1)
        return latents, log_density
