"""One pair of networks and one budget, 3,000 batches of 64: losses and techniques.

A recipe differs from `mnist_gan` in what it is named for, and in what its paper prescribes with it:
no momentum where the critic is far ahead or penalised.
"""

from runtime.images import ImageSpec
from train.networks.dcgan import DCGANParams
from train.objectives import AdamParams, Adversarial
from train.recipes.recipe import Recipe, recipe, variant

_NO_MOMENTUM = dict.fromkeys(("generator", "discriminator"), AdamParams(2e-4, (0.0, 0.99)))


@recipe
def mnist_gan() -> Recipe:
    return Recipe(
        summary="small unconditional DCGAN, non-saturating loss: what the next ones change",
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
                discriminator_width=16,
            )
        ),
        steps=3_000,
        batch_size=64,
        ema_decay=0.999,
        log_every=10,
    )


@recipe
def mnist_minimax() -> Recipe:
    return variant(mnist_gan(), "minimax loss, which saturates", loss="minimax")


@recipe
def mnist_lsgan() -> Recipe:
    return variant(mnist_gan(), "least squares (LSGAN)", loss="least_squares")


@recipe
def mnist_hinge() -> Recipe:
    return variant(mnist_gan(), "hinge loss", loss="hinge")


@recipe
def mnist_wgan() -> Recipe:
    return variant(
        mnist_gan(),
        "Wasserstein critic with clipped weights, five steps for one of the generator",
        loss="wasserstein",
        weight_clip=0.01,
        critic_steps=5,
        **_NO_MOMENTUM,
    )


@recipe
def mnist_wgan_gp() -> Recipe:
    return variant(
        mnist_gan(),
        "Wasserstein critic with a gradient penalty, five steps for one of the generator",
        loss="wasserstein",
        gradient_penalty=10.0,
        critic_steps=5,
        **_NO_MOMENTUM,
    )


@recipe
def mnist_r3gan() -> Recipe:
    return variant(
        mnist_gan(),
        "relativistic pairs with R1 and R2 at every step (R3GAN's loss)",
        loss="relativistic",
        r1=1.0,
        r2=1.0,
        **_NO_MOMENTUM,
    )


@recipe
def mnist_feature_matching() -> Recipe:
    return variant(
        mnist_gan(),
        "the generator matches the discriminator's mean features",
        feature_matching=True,
    )


@recipe
def mnist_minibatch_deviation() -> Recipe:
    return variant(
        mnist_gan(),
        "the discriminator sees how much the batch varies",
        network={"minibatch_deviation": True},
    )


@recipe
def mnist_historical_averaging() -> Recipe:
    return variant(
        mnist_gan(),
        "both networks pay for leaving the mean of their past weights",
        historical_averaging=0.001,
    )


@recipe
def mnist_label_smoothing() -> Recipe:
    return variant(mnist_gan(), "real images have the target 0.9 instead of 1", label_smoothing=0.1)


@recipe
def mnist_virtual_batch_norm() -> Recipe:
    return variant(
        mnist_gan(), "generator normed by a reference batch", network={"generator_norm": "virtual"}
    )
