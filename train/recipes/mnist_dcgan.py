"""The five heuristics of a DCGAN, each switched off alone: one budget, 3,000 batches of 64.

They are the tricks of Chollet, "Deep Learning with Python", 1st ed. (2018), section 8.5.2. What
differs from `mnist_dcgan`, which has all five on, is what a recipe is named for.
"""

from dataclasses import replace
from typing import Any

from runtime.images import ImageSpec
from train.networks import DCGANParams
from train.objectives import Adversarial
from train.recipes.recipe import Recipe


def mnist_dcgan() -> Recipe:
    return Recipe(
        name="mnist_dcgan",
        summary="DCGAN of digits with all five heuristics on",
        source="mnist",
        image=ImageSpec(height=28, width=28, channels=1),
        objective=Adversarial(
            DCGANParams(
                latent=64,
                height=28,
                width=28,
                channels=1,
                stages=2,
                generator_width=32,
                discriminator_width=32,
                dropout=0.2,
                discriminator_norm="batch",
            ),
            label_noise=0.05,
        ),
        steps=3_000,
        batch_size=64,
        ema_decay=0.999,
    )


def mnist_dcgan_linear_end() -> Recipe:
    return _variant(
        "mnist_dcgan_linear_end",
        "no tanh at the generator's end",
        network={"tanh": False},
    )


def mnist_dcgan_uniform_prior() -> Recipe:
    return _variant(
        "mnist_dcgan_uniform_prior",
        "latents uniform in [-1, 1] instead of normal",
        prior="uniform",
    )


def mnist_dcgan_no_noise() -> Recipe:
    return _variant(
        "mnist_dcgan_no_noise",
        "neither dropout nor noise on the discriminator's targets",
        network={"dropout": 0.0},
        label_noise=0.0,
    )


def mnist_dcgan_sparse() -> Recipe:
    return _variant(
        "mnist_dcgan_sparse",
        "sparse gradients: ReLU and max pooling in the discriminator",
        network={"strided": False},
    )


def mnist_dcgan_odd_kernel() -> Recipe:
    """5 x 5, the size of Radford et al. (2016): more weights than 4 x 4, so it loses by its grid
    alone."""
    return _variant(
        "mnist_dcgan_odd_kernel",
        "kernels of side 5, which the stride of 2 does not divide",
        network={"kernel": 5},
    )


def _variant(
    name: str, summary: str, *, network: dict[str, Any] | None = None, **changes: Any
) -> Recipe:
    """`mnist_dcgan` with changes to its objective, and to its networks."""
    base = mnist_dcgan()
    networks = replace(base.objective.network, **network or {})
    objective = replace(base.objective, network=networks, **changes)
    return replace(base, name=name, summary=summary, objective=objective)
