"""Maximum likelihood of autoregressive models, whose probability of an image is exact."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from train import losses
from train.networks.pixelcnn import PixelCNN, PixelCNNParams
from train.objectives.objective import AdamParams, Batch, Losses, Phase, binarised


@dataclass(frozen=True)
class Autoregressive:
    """Settings of an autoregressive model of binary pixels: minimise -log p(x)."""

    network: PixelCNNParams
    optimizer: AdamParams
    kind: Literal["autoregressive"] = "autoregressive"

    def build(self) -> "AutoregressiveObjective":
        return AutoregressiveObjective(self)


class AutoregressiveObjective:
    """Training pixels are drawn anew at every step, with their grey levels as probabilities."""

    def __init__(self, settings: Autoregressive) -> None:
        self.settings = settings
        self.networks = self.model = nn.ModuleDict({"decoder": settings.network.build()})
        self.phases = {"likelihood": Phase(self.networks, self._losses, settings.optimizer)}

    def latents(self, count: int, device: torch.device) -> Tensor:
        return torch.randn(count, self.settings.network.latent, device=device)

    def nll(self, model: nn.ModuleDict, images: Tensor) -> Tensor:
        """-log p(x) of binary images [B, 1, H, W], nats [B]."""
        return losses.bernoulli_nll(cast(PixelCNN, model["decoder"]).logits(images).float(), images)

    def _losses(self, images: Tensor, labels: Tensor) -> Losses:
        return {"loss": self.nll(self.model, binarised(images)).mean()}

    def evaluate(self, model: nn.ModuleDict, batches: Iterable[Batch]) -> dict[str, float]:
        """Mean -log p(x) in nats an image."""
        nll = torch.cat([self.nll(model, images) for images, _ in batches])
        return {"test_loss": nll.double().mean().item()}
