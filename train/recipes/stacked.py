"""Stacked MNIST: which of a thousand modes does a generator draw?

One pair of networks, one number of steps. No batch norm in the discriminator: it would show it the
whole batch, which packing is about, and a penalty on the gradient at one image has no meaning where
the score depends on the others.
"""

from dataclasses import replace

from runtime.images import ImageSpec
from train.networks.dcgan import DCGANParams
from train.objectives import AdamParams, Adversarial
from train.recipes.recipe import Recipe, recipe, variant

_RATE = 1e-3
"""Five times that of `mnist_gan`: three digits at once are slow to become legible."""


@recipe
def stacked_dcgan() -> Recipe:
    return Recipe(
        summary="Stacked MNIST: the plain DCGAN, which loses modes",
        source="stacked-mnist",
        image=ImageSpec(height=28, width=28, channels=3),
        objective=Adversarial(
            DCGANParams(
                latent=128,
                height=28,
                width=28,
                channels=3,
                stages=2,
                generator_width=32,
                discriminator_width=16,
            ),
            generator=AdamParams(_RATE, (0.5, 0.999)),
            discriminator=AdamParams(_RATE, (0.5, 0.999)),
        ),
        steps=15_000,
        batch_size=64,
        ema_decay=0.999,
    )


@recipe
def stacked_pacgan() -> Recipe:
    return variant(
        stacked_dcgan(),
        "Stacked MNIST: a discriminator that sees two pictures at once",
        network={"pack": 2},
    )


@recipe
def stacked_r3gan() -> Recipe:
    return variant(
        stacked_dcgan(),
        "Stacked MNIST: relativistic pairs with R1 and R2",
        generator=AdamParams(_RATE, (0.0, 0.99)),
        discriminator=AdamParams(_RATE, (0.0, 0.99)),
        loss="relativistic",
        r1=1.0,
        r2=1.0,
    )


@recipe
def stacked_r3gan_wide() -> Recipe:
    return _again(
        stacked_r3gan(),
        AdamParams(2e-3, (0.0, 0.99), schedule="one_cycle"),
        "Stacked MNIST: relativistic pairs, wider and longer",
    )


@recipe
def stacked_pacgan_wide() -> Recipe:
    return _again(
        stacked_pacgan(),
        AdamParams(_RATE, (0.5, 0.999), schedule="one_cycle"),
        "Stacked MNIST: two pictures at once, wider and longer",
    )


def _again(first: Recipe, adam: AdamParams, summary: str) -> Recipe:
    """The second try. Digits of the first were seldom legible, which shifts the counts of modes:
    networks of twice the width, more steps, and a rate that falls to 0 at the end."""
    made = variant(
        first,
        summary,
        network={"generator_width": 64, "discriminator_width": 32},
        generator=adam,
        discriminator=adam,
    )
    return replace(made, steps=25_000, precision="bf16")
