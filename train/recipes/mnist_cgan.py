"""Digits by their label, four ways of the label on one pair of networks and one budget.

What differs from `mnist_cgan` is what a recipe is named for.
"""

from dataclasses import replace
from typing import Any

from runtime.images import ImageSpec
from train.networks import DCGANParams
from train.objectives import Adversarial
from train.recipes.recipe import Recipe


def mnist_cgan() -> Recipe:
    return Recipe(
        name="mnist_cgan",
        summary="class-conditional DCGAN: a digit by its label, projected in the discriminator",
        source="mnist",
        image=ImageSpec(height=28, width=28, channels=1),
        objective=Adversarial(
            DCGANParams(
                latent=64,
                height=28,
                width=28,
                channels=1,
                stages=2,
                classes=10,
                generator_width=32,
                discriminator_width=32,
                dropout=0.2,
                # Spectral norm, as for the frogs, left this one near chance against the generator.
                discriminator_norm="batch",
            ),
            label_noise=0.05,
        ),
        steps=6_000,
        batch_size=64,
        ema_decay=0.999,
    )


def mnist_cgan_batch_norm() -> Recipe:
    return _variant(
        "mnist_cgan_batch_norm",
        "the label in the generator's batch norms, and beside the picture",
        discriminator_labels="concatenate",
    )


def mnist_cgan_concatenate() -> Recipe:
    return _variant(
        "mnist_cgan_concatenate",
        "the label beside the latent, and beside the picture",
        generator_labels="concatenate",
        discriminator_labels="concatenate",
    )


def mnist_acgan() -> Recipe:
    return _variant(
        "mnist_acgan",
        "the discriminator tells the label (auxiliary classifier)",
        discriminator_labels="classify",
    )


def _variant(name: str, summary: str, **changes: Any) -> Recipe:
    """`mnist_cgan` with changes to its networks."""
    base = mnist_cgan()
    objective = replace(base.objective, network=replace(base.objective.network, **changes))
    return replace(base, name=name, summary=summary, objective=objective)
