"""CIFAR-10: its frogs, and all ten classes."""

from dataclasses import replace

from runtime.images import ImageSpec
from train.networks.dcgan import DCGANParams
from train.networks.resnet import ResNetParams
from train.objectives import AdamParams, Adversarial
from train.recipes.recipe import Recipe, recipe


@recipe
def cifar10_frogs_dcgan() -> Recipe:
    return Recipe(
        summary="DCGAN on the 5,000 frogs of CIFAR-10",
        source="cifar10-frogs",
        image=ImageSpec(height=32, width=32, channels=3),
        objective=Adversarial(
            DCGANParams(
                generator_width=64,
                discriminator_width=64,
                dropout=0.2,
                discriminator_norm="spectral",
            ),
            generator=AdamParams(2e-4, (0.0, 0.99)),
            discriminator=AdamParams(4e-4, (0.0, 0.99)),
            label_noise=0.05,
            augmentation=("flip", "colour", "shift", "cutout"),
        ),
        steps=15_000,
        batch_size=64,
        precision="bf16",
        ema_decay=0.999,
    )


@recipe
def cifar10_frogs_long() -> Recipe:
    """A third more steps, and an average over more of them."""
    return replace(
        cifar10_frogs_dcgan(),
        summary="the frogs' DCGAN, trained for longer",
        steps=20_000,
        precision="fp32",
        ema_decay=0.9995,
    )


@recipe
def cifar10_dcgan() -> Recipe:
    frogs = cifar10_frogs_dcgan()
    network = replace(frogs.objective.network, generator_width=48, discriminator_width=48)
    # Ten times the images, seen a few times each: none to be memorised, so nothing but mirrored.
    objective = replace(frogs.objective, network=network, augmentation=("flip",))
    return replace(
        frogs,
        summary="the frogs' DCGAN, narrower, on all ten classes of CIFAR-10, without their labels",
        source="cifar10",
        objective=objective,
        steps=10_000,
        precision="fp32",
    )


@recipe
def cifar10_biggan() -> Recipe:
    """Narrow enough for 5,000 steps in about an hour of one CPU core."""
    return Recipe(
        summary="BigGAN-style residual networks on the ten classes of CIFAR-10, by their label",
        source="cifar10",
        image=ImageSpec(height=32, width=32, channels=3),
        objective=Adversarial(
            ResNetParams(classes=10, generator_width=24, discriminator_width=24),
            generator=AdamParams(2e-4, (0.0, 0.99)),
            discriminator=AdamParams(4e-4, (0.0, 0.99)),
            loss="hinge",
            augmentation=("flip",),
        ),
        steps=5_000,
        batch_size=64,
        ema_decay=0.999,
    )


@recipe
def cifar10_biggan_full() -> Recipe:
    """The published size for 32x32, for a GPU, with the augmentation that DiffAugment gave BigGAN
    (Zhao et al. 2020, arXiv:2006.10738). Not trained yet."""
    small = cifar10_biggan()
    return replace(
        small,
        summary="the same at BigGAN's own width for 32x32, for a GPU",
        objective=replace(
            small.objective,
            network=ResNetParams(
                classes=10,
                generator_width=256,
                discriminator_width=256,
                growth=1,
                discriminator_stages=2,
                discriminator_flat=2,
                generator_spectral=True,
            ),
            generator=AdamParams(2e-4, (0.0, 0.999)),
            discriminator=AdamParams(2e-4, (0.0, 0.999)),
            critic_steps=4,
            augmentation=("flip", "colour", "shift", "cutout"),
        ),
        steps=400_000,
        precision="bf16",
        ema_decay=0.999975,  # a fourth as much each step: four of them make one of the generator
        checkpoint_every=5000,
        sample_every=5000,
    )
