"""fp32 or bf16: what a recipe trains in on this device."""

import logging
import time
from dataclasses import replace
from typing import Literal

import torch

from train.data import Splits
from train.devices import has_bf16
from train.recipes import Recipe
from train.training import Training

logger = logging.getLogger(__name__)

Precision = Literal["fp32", "bf16"]

_STEPS = 2
"""At least so many steps of each precision are timed, after one that warms up."""


def faster(recipe: Recipe, data: Splits, device: torch.device) -> Recipe:
    """A recipe in bf16, in what is faster here: fp32 where the device has no bf16, else what a few
    steps of each say; the log tells. A recipe in fp32 stays as it is."""
    if recipe.precision == "fp32":
        return recipe
    if not has_bf16(device):
        logger.info("precision: fp32, because this device has no bf16")
        return replace(recipe, precision="fp32")
    fp32, bf16 = _timed(recipe, data, device)
    precision: Precision = "bf16" if bf16 < fp32 else "fp32"
    logger.info(
        "precision: %s, the faster here: %.3g s a step in fp32, %.3g s in bf16 (timed now)",
        precision,
        fp32,
        bf16,
    )
    return replace(recipe, precision=precision)


def warn_of_emulation(recipe: Recipe, data: Splits, device: torch.device) -> None:
    """Warn where a recipe is in bf16 and the device has none: a few timed steps tell how slow."""
    if recipe.precision == "fp32" or has_bf16(device):
        return
    fp32, bf16 = _timed(recipe, data, device)
    logger.warning(
        "precision: this device has no bf16: a step takes %.1f times as long as in fp32 "
        "(%.3g s, %.3g s; timed now). Train with --precision fp32, which is the default here",
        bf16 / fp32,
        bf16,
        fp32,
    )


def _timed(recipe: Recipe, data: Splits, device: torch.device) -> tuple[float, float]:
    """Seconds of a step in fp32 and in bf16, in the recipe's own parts: the batch may not fit into
    the device's memory whole."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        fp32 = _seconds(replace(recipe, precision="fp32"), data, device)
        bf16 = _seconds(replace(recipe, precision="bf16"), data, device)
    return fp32, bf16


def _seconds(recipe: Recipe, data: Splits, device: torch.device) -> float:
    training = Training(recipe, data, device)
    training.advance()
    # A generator may have its turn once in several steps of the critic.
    steps = max(_STEPS, *(phase.every for phase in training.objective.phases.values()))
    started = time.perf_counter()
    for _ in range(steps):
        training.advance()  # reads the losses, so that the device has finished
    return (time.perf_counter() - started) / steps
