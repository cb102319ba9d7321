"""What the loop needs to know of a model family: its networks, its phases, how it is judged.

The loop sees one optimiser per phase and the network that draws; it knows no model family.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]
"""Images float [B, C, H, W] in the recipe's value range, labels int64 [B]."""
Losses = dict[str, Tensor]
"""Scalars by name; the first one is minimised, the others are only reported."""


@dataclass(frozen=True)
class AdamParams:
    """AdamW (Loshchilov and Hutter 2019); without weight decay it is Adam."""

    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    schedule: Literal["constant", "one_cycle"] = "constant"
    """`one_cycle`: up over the first 30% of the steps, down to zero over the rest, both cosine."""


@dataclass(frozen=True)
class Phase:
    """One optimiser's part of a step: `losses(images, labels)` is minimised over `module`."""

    module: nn.Module
    losses: Callable[[Tensor, Tensor], Losses]
    optimizer: AdamParams
    every: int = 1
    """Runs on every n-th step only: a generator after n steps of its critic."""
    constrain: Callable[[], None] | None = None
    """What is done to the weights after each step of the optimiser."""
    schedule: Callable[[float], None] | None = None
    """Told before each step which share of the run's steps is done."""
    span: tuple[float, float] = (0.0, 1.0)
    """It runs from and until these shares of the run's steps: features that are learned first,
    a discriminator that comes in later."""


class Objective(Protocol):
    """What the loop needs to know of a model family."""

    phases: dict[str, Phase]
    networks: nn.ModuleDict
    """Everything that trains."""
    model: nn.ModuleDict
    """What outlives training, averaged if the recipe says so: `decoder` and maybe `encoder`,
    or `translator` and maybe `back`."""

    def evaluate(self, model: nn.ModuleDict, batches: Iterable[Batch]) -> dict[str, float]:
        """Figures `test_…` of `model` (or its average) on held-out images, which the loop names
        anew where these are validation images; empty where there are none."""
        ...


@runtime_checkable
class OfLatents(Protocol):
    """An objective whose model makes pictures of latents."""

    def latents(self, count: int, device: torch.device) -> Tensor:
        """From the prior, float [count, latent]."""
        ...


@runtime_checkable
class OfPictures(Protocol):
    """An objective whose model needs pictures to make pictures: what its sheet shows."""

    @property
    def shown_label(self) -> int | None:
        """Of the pictures with this label alone; None: of any."""
        ...

    def show(self, model: nn.ModuleDict, images: Tensor) -> tuple[Tensor, ...]:
        """For each of the images [B, C, H, W]: what is given, what is made of it, what was wanted,
        each [B, C, H, W]."""
        ...


def binarised(images: Tensor) -> Tensor:
    """Binary pixels, drawn with the grey values in [0, 1] as their means."""
    return (torch.rand_like(images) < images).float()
