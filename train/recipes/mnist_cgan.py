"""Digits by their label, four ways of the label on one pair of networks and one budget.

The networks are `mnist_dcgan`'s, for twice as long. What differs from `mnist_cgan` is what a recipe
is named for.
"""

from dataclasses import replace

from train.recipes.mnist_dcgan import mnist_dcgan
from train.recipes.recipe import Recipe, recipe, variant


@recipe
def mnist_cgan() -> Recipe:
    conditional = variant(
        mnist_dcgan(),
        "class-conditional DCGAN: a digit by its label, projected in the discriminator",
        network={"classes": 10},
    )
    return replace(conditional, steps=6_000)


@recipe
def mnist_cgan_batch_norm() -> Recipe:
    return variant(
        mnist_cgan(),
        "the label in the generator's batch norms, and beside the picture",
        network={"discriminator_labels": "concatenate"},
    )


@recipe
def mnist_cgan_concatenate() -> Recipe:
    return variant(
        mnist_cgan(),
        "the label beside the latent, and beside the picture",
        network={"generator_labels": "concatenate", "discriminator_labels": "concatenate"},
    )


@recipe
def mnist_acgan() -> Recipe:
    return variant(
        mnist_cgan(),
        "the discriminator predicts the label (auxiliary classifier)",
        network={"discriminator_labels": "classify"},
    )


def _few(count: int) -> Recipe:
    """`mnist_cgan` on so many images of a class, which the discriminator sees changed, or it
    would know them by heart."""
    few = variant(
        mnist_cgan(),
        f"the conditional DCGAN on {count} images of each digit",
        augmentation=("shift", "cutout"),
    )
    return replace(few, source=f"mnist-{count}-a-class")


@recipe
def mnist_cgan_10() -> Recipe:
    return _few(10)


@recipe
def mnist_cgan_50() -> Recipe:
    return _few(50)


@recipe
def mnist_cgan_100() -> Recipe:
    return _few(100)
