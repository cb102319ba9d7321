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


_WIDER = {"generator_width": 64, "discriminator_width": 32}
"""Of the second try: digits of the first were seldom legible, which shifts the counts of modes."""


@recipe
def stacked_r3gan_wide() -> Recipe:
    made = variant(
        stacked_r3gan(), "Stacked MNIST: relativistic pairs, wider and longer", network=_WIDER
    )
    return replace(made, steps=40_000)


@recipe
def stacked_pacgan_wide() -> Recipe:
    made = variant(
        stacked_pacgan(), "Stacked MNIST: two pictures at once, wider and longer", network=_WIDER
    )
    return replace(made, steps=40_000)
