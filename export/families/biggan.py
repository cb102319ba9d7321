"""BigGAN-deep as a decoder: labels instead of one-hot vectors, and a truncation for every image.

It is written for the layout of `pytorch_pretrained_biggan`: `embeddings`, a linear layer of one-hot
classes; `generator(condition, truncation)`; and batch norms that hold their statistics for several
truncations, `running_means` and `running_vars` [S, C], of truncations 0 to 1 in equal steps.

Shapes: B batch, C channels, Z latent, S steps.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.modules.frozen import frozen_copy
from runtime.errors import ExportError


class BigGAN(nn.Module):
    """Latents [B, Z], labels int64 [B] and a truncation [B] in (0, 1] -> images [B, 3, H, W].

    `network` is a BigGAN of the layout above; a copy is kept, its batch norms replaced. Raises
    ExportError where it has another layout.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        frozen: Any = frozen_copy(network)
        replaced = 0
        for parent in list(frozen.modules()):
            for name, child in list(parent.named_children()):
                if hasattr(child, "running_means") and hasattr(child, "running_vars"):
                    setattr(parent, name, TruncatedBatchNorm(child))
                    replaced += 1
        embeddings = getattr(frozen, "embeddings", None)
        generator = getattr(frozen, "generator", None)
        if not isinstance(embeddings, nn.Linear) or generator is None or not replaced:
            raise ExportError(
                f"{type(network).__name__}: expected a BigGAN with `embeddings` (a linear layer), "
                "`generator` and batch norms with `running_means` and `running_vars`, as in "
                "pytorch_pretrained_biggan: for another layout write a module of latents, labels "
                "and a truncation (python -m export module --takes-truncation "
                "--prior truncated_normal)"
            )
        self.generator = generator
        self.classes = nn.Parameter(embeddings.weight.T.contiguous(), requires_grad=False)
        self.eval()

    def forward(self, latents: Tensor, labels: Tensor, truncation: Tensor) -> Tensor:
        embedded = F.embedding(labels, self.classes)
        return self.generator(torch.cat((latents, embedded), dim=1), truncation)


class TruncatedBatchNorm(nn.Module):
    """Normalises with the statistics of each image's own truncation, between two steps those of
    both, weighed by their nearness; then scales and shifts by channel, by the class where
    `norm` is conditional."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.means = nn.Buffer(norm.running_means)
        self.variances = nn.Buffer(norm.running_vars)
        self.eps: float = norm.eps
        self.conditional = hasattr(norm, "scale")
        if self.conditional:
            self.scale, self.offset = norm.scale, norm.offset
        else:
            self.weight, self.bias = norm.weight, norm.bias

    def forward(
        self, x: Tensor, truncation: Tensor, condition_vector: Tensor | None = None
    ) -> Tensor:
        steps = len(self.means) - 1
        position = truncation.clamp(0.0, 1.0) * steps
        below = position.floor().clamp(max=steps - 1)
        index, nearness = below.long(), (position - below)[:, None]
        mean = torch.lerp(self.means[index], self.means[index + 1], nearness)
        variance = torch.lerp(self.variances[index], self.variances[index + 1], nearness)
        if self.conditional:
            weight, bias = 1 + self.scale(condition_vector), self.offset(condition_vector)
        else:
            weight, bias = self.weight, self.bias
        gain = weight * torch.rsqrt(variance + self.eps)
        shift = bias - mean * gain
        return x * gain[..., None, None] + shift[..., None, None]
