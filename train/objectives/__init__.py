"""Objectives: which networks train against which losses, in which phases.

An objective is the only place where networks, losses and noise meet.
"""

from train.objectives.adversarial import Adversarial
from train.objectives.elbo import ELBO
from train.objectives.objective import AdamParams, Batch, Losses, Objective, Phase

__all__ = ["ELBO", "AdamParams", "Adversarial", "Batch", "Losses", "Objective", "Phase"]
