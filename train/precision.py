"""fp32 or bf16: what a recipe trains in on this device."""

import logging
import time
from dataclasses import replace
from typing import Literal

import torch

from train.data import Splits
from train.recipes import Recipe
from train.training import Training

logger = logging.getLogger(__name__)

Precision = Literal["fp32", "bf16"]

_STEPS = 2
"""Steps of each precision that are timed, after one that warms up."""


def available(recipe: Recipe, bf16: bool) -> Recipe:
    """The recipe in fp32 where it is in bf16 and the device has none; the log says so."""
    if recipe.precision == "fp32" or bf16:
        return recipe
    logger.info("precision: fp32, because this device has no bf16 (--precision bf16 emulates it)")
    return replace(recipe, precision="fp32")


def warn_of_emulation(recipe: Recipe, data: Splits, device: torch.device) -> float:
    """Say how many times longer a step takes in bf16 than in fp32, measured here; returns it."""
    seconds = {name: _seconds(recipe, name, data, device) for name in ("fp32", "bf16")}
    factor = seconds["bf16"] / seconds["fp32"]
    logger.warning(
        "precision: this device has no bf16: a step takes %.1f times as long as in fp32 "
        "(%.3g s, %.3g s; measured now). Leave --precision bf16 out to train in fp32",
        factor,
        seconds["bf16"],
        seconds["fp32"],
    )
    return factor


def _seconds(recipe: Recipe, precision: Precision, data: Splits, device: torch.device) -> float:
    """Of one step."""
    training = Training(replace(recipe, precision=precision, shards=1), data, device)
    training.advance()
    started = time.perf_counter()
    for _ in range(_STEPS):
        training.advance()  # reads the losses, so that the device has finished
    return (time.perf_counter() - started) / _STEPS
