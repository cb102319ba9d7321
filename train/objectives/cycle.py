"""CycleGAN: two kinds of pictures, without pairs, and a translator each way.

Zhu et al. (2017), arXiv:1703.10593. The kinds, A and B below, are the labels 0 and 1 of the data.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from train import losses
from train.networks.patches import PatchParams
from train.objectives.objective import AdamParams, Batch, Losses, Phase
from train.objectives.terms import Term, with_terms
from train.objectives.translation import TranslatorParams


@dataclass(frozen=True)
class Cycle:
    """Settings of a CycleGAN. Images in [-1, 1]."""

    network: TranslatorParams
    """Of both translators."""
    generator: AdamParams = field(default_factory=lambda: AdamParams(2e-4, (0.5, 0.999)))
    discriminator: AdamParams = field(default_factory=lambda: AdamParams(2e-4, (0.5, 0.999)))
    patches: PatchParams = field(default_factory=PatchParams)
    loss: str = "least_squares"
    """Key of `train.losses.ADVERSARIAL`, of those that are not of pairs."""
    cycle: float = 10.0
    """Mean absolute difference of a picture that was translated there and back; both ways. 10
    here weighs as 20 does in the paper, which halves the discriminators' squares alone: the
    generators' are halved here too, as LSGAN has them."""
    identity: float = 0.5
    """How much, as a share of `cycle`, a translator may not change what is of its kind already
    (section 5.2)."""
    pool: int = 50
    """Earlier translations of each kind of which the discriminators are shown some instead of new
    ones (Shrivastava et al. 2017, arXiv:1612.07828, section 2.3); 0: new ones alone."""
    kind: Literal["cycle"] = "cycle"

    def __post_init__(self) -> None:
        losses.adversarial(self.loss, paired=False)

    @property
    def classes(self) -> int:
        """The two kinds are labels."""
        return 2

    def build(self) -> "CycleObjective":
        return CycleObjective(self)


class CycleObjective:
    shown_label = 0
    """The sheet shows A's way into B, the "translator": B's pictures have nothing to do there."""

    def __init__(self, settings: Cycle) -> None:
        self.settings = settings
        self.loss = losses.adversarial(settings.loss)
        channels = settings.network.channels
        shape = (channels, settings.network.height, settings.network.width)
        # Of A and of B: what makes such pictures, what judges them, and what was made of late.
        self.makers = nn.ModuleList(settings.network.build(channels) for _ in range(2))
        self.judges = nn.ModuleList(settings.patches.build(channels) for _ in range(2))
        self.pools = nn.ModuleList(Pool(settings.pool, shape) for _ in range(2))
        self.model = nn.ModuleDict({"back": self.makers[0], "translator": self.makers[1]})
        self.networks = nn.ModuleDict(
            {"makers": self.makers, "judges": self.judges, "pools": self.pools}
        )
        self.phases = {
            "discriminators": Phase(
                self.judges, self._discriminator_losses, settings.discriminator
            ),
            "generators": Phase(self.makers, self._generator_losses, settings.generator),
        }

    def show(self, model: nn.ModuleDict, images: Tensor) -> tuple[Tensor, ...]:
        """A's picture, as one of B, there and back."""
        made = model["translator"](images)
        return images, made, model["back"](made)

    def evaluate(self, model: nn.ModuleDict, batches: Iterable[Batch]) -> dict[str, float]:
        return {}

    def _discriminator_losses(self, images: Tensor, labels: Tensor) -> Losses:
        terms: list[Term] = []
        for kind, (real, others) in enumerate(_both(images, labels)):
            with torch.no_grad():
                fakes = self.pools[kind](self.makers[kind](others).float())
            loss = self.loss.discriminator(self._judge(kind, real), self._judge(kind, fakes))
            terms.append((_NAMES[kind], 1.0, loss))
        return with_terms(torch.zeros((), device=images.device), terms)

    def _generator_losses(self, images: Tensor, labels: Tensor) -> Losses:
        terms = chain.from_iterable(
            self._terms(kind, own, others)
            for kind, (own, others) in enumerate(_both(images, labels))
        )
        return with_terms(torch.zeros((), device=images.device), terms)

    def _terms(self, kind: int, own: Tensor, others: Tensor) -> Iterator[Term]:
        """What the maker of a kind is to minimise, with pictures of it and of the other kind."""
        settings, maker = self.settings, self.makers[kind]
        made = maker(others).float()
        yield f"adversarial_{_NAMES[kind]}", 1.0, self.loss.generator(self._judge(kind, made))
        returned = self.makers[1 - kind](made).float()
        yield f"cycle_{_NAMES[1 - kind]}", settings.cycle, functional.l1_loss(returned, others)
        if settings.identity:
            weight = settings.cycle * settings.identity
            yield f"identity_{_NAMES[kind]}", weight, functional.l1_loss(maker(own).float(), own)

    def _judge(self, kind: int, images: Tensor) -> Tensor:
        return self.judges[kind](images).float().flatten()


_NAMES = ("a", "b")


def _both(images: Tensor, labels: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """For A and for B: the pictures of the kind, and those of the other."""
    a, b = images[labels == 0], images[labels == 1]
    return (a, b), (b, a)


class Pool(nn.Module):
    """Earlier translations. As buffers, so that a checkpoint holds them."""

    images: Tensor
    filled: Tensor

    def __init__(self, size: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(size, *shape))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, fresh: Tensor) -> Tensor:
        """Images [B, C, H, W] of which each is, half of the time, kept and an earlier one given in
        its place. Until the pool is full all are kept, and given."""
        given: list[Tensor] = []
        for image in fresh:
            filled, size = int(self.filled), len(self.images)
            if filled < size:
                self.images[filled] = image
                self.filled += 1
            elif size and torch.rand(()) < 0.5:
                place = int(torch.randint(size, ()))
                image, self.images[place] = self.images[place].clone(), image
            given.append(image)
        return torch.stack(given)
