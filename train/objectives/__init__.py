"""Objectives: which networks train against which losses, in which phases.

An objective is the only place where networks and losses meet. What noise the
networks take, it draws.
"""

from train.objectives.adversarial import Adversarial
from train.objectives.autoregressive import Autoregressive
from train.objectives.cycle import Cycle
from train.objectives.elbo import ELBO
from train.objectives.hybrid import Hybrid
from train.objectives.objective import (
    AdamParams,
    Batch,
    Losses,
    Objective,
    OfLatents,
    OfPictures,
    Phase,
)
from train.objectives.translation import Translation

Settings = ELBO | Adversarial | Autoregressive | Hybrid | Translation | Cycle
"""What a recipe may train by."""

__all__ = [
    "ELBO",
    "AdamParams",
    "Adversarial",
    "Autoregressive",
    "Batch",
    "Cycle",
    "Hybrid",
    "Losses",
    "Objective",
    "OfLatents",
    "OfPictures",
    "Phase",
    "Settings",
    "Translation",
]
