"""Historical averaging: a player pays for leaving the mean of its own past weights."""

import torch
from torch import Tensor, nn


class WeightHistory(nn.Module):
    """The mean of a module's weights over all steps so far, and their distance from it.

    |theta - (1 / t) sum_i theta_i|^2, Salimans et al. (2016), section 3.3, arXiv:1606.03498.
    Buffers, so that a checkpoint holds them.
    """

    mean: Tensor
    count: Tensor

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros_like(_weights(module).detach()))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, module: nn.Module) -> Tensor:
        """Count the weights in, once a step, and return the squared distance."""
        weights = _weights(module)
        self.count += 1
        self.mean += (weights.detach() - self.mean) / self.count
        return (weights - self.mean).square().sum()


def _weights(module: nn.Module) -> Tensor:
    return torch.cat([parameter.flatten() for parameter in module.parameters()])
