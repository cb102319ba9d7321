"""The five heuristics of a DCGAN, each switched off alone: one budget, 3,000 batches of 64.

They are the tricks of Chollet, "Deep Learning with Python", 1st ed. (2018), section 8.5.2. What
differs from `mnist_dcgan`, which has all five on, is what a recipe is named for.
"""

from runtime.images import ImageSpec
from train.networks.dcgan import DCGANParams
from train.objectives import Adversarial
from train.recipes.recipe import Recipe, recipe, variant


@recipe
def mnist_dcgan() -> Recipe:
    return Recipe(
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
                # Spectral norm, as for the frogs, left the conditional one (`mnist_cgan`) near
                # chance against the generator.
                discriminator_norm="batch",
            ),
            label_noise=0.05,
        ),
        steps=3_000,
        batch_size=64,
        ema_decay=0.999,
    )


@recipe
def mnist_dcgan_linear_end() -> Recipe:
    return variant(mnist_dcgan(), "no tanh at the generator's end", network={"tanh": False})


@recipe
def mnist_dcgan_uniform_prior() -> Recipe:
    return variant(mnist_dcgan(), "latents uniform in [-1, 1] instead of normal", prior="uniform")


@recipe
def mnist_dcgan_no_noise() -> Recipe:
    return variant(
        mnist_dcgan(),
        "neither dropout nor noise on the discriminator's targets",
        network={"dropout": 0.0},
        label_noise=0.0,
    )


@recipe
def mnist_dcgan_sparse() -> Recipe:
    return variant(
        mnist_dcgan(),
        "sparse gradients: ReLU and max pooling in the discriminator",
        network={"strided": False},
    )


@recipe
def mnist_dcgan_odd_kernel() -> Recipe:
    """5 x 5, the size of Radford et al. (2016): more weights than 4 x 4, and a discriminator that
    ends in features of 4 x 4 instead of 3 x 3, so more than the grid differs."""
    return variant(
        mnist_dcgan(),
        "kernels of side 5, which the stride of 2 does not divide",
        network={"kernel": 5},
    )
