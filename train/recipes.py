"""Recipes: named functions, each returning everything that a training run depends on."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from runtime.images import ImageSpec
from train.networks import DCGANParams, VAEParams
from train.objectives import ELBO, AdamParams, Adversarial


@dataclass(frozen=True)
class Recipe:
    """One training run, apart from where its data lies and where its output goes."""

    name: str
    summary: str
    source: str
    """Key of `train.data.SOURCES`."""
    image: ImageSpec
    objective: Annotated[ELBO | Adversarial, Field(discriminator="kind")]
    steps: int
    batch_size: int
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: autocast of the networks; losses, augmentation and weights stay fp32."""
    ema_decay: float = 0.0
    """Decay of the averaged weights that are kept for the artifact; 0 keeps the last weights."""
    checkpoint_every: int = 1000
    sample_every: int = 500
    log_every: int = 50

    def __post_init__(self) -> None:
        network = self.objective.network
        shape = (network.height, network.width, network.channels)
        if shape != self.image.shape:
            raise ValueError(f"network: expected images of {self.image.shape}, found {shape}")


RECIPE_JSON = TypeAdapter(Recipe)
"""Recipe <-> JSON, validated on the way in."""

_MNIST = ImageSpec(height=28, width=28, channels=1, value_range=(0.0, 1.0))


def mnist_vae_2d() -> Recipe:
    return Recipe(
        name="mnist_vae_2d",
        summary="VAE with a 2-D latent: the manifold of handwritten digits",
        source="mnist",
        image=_MNIST,
        objective=ELBO(
            VAEParams(latent=2, widths=(16, 32), decoder_widths=(16, 16), hidden=512, depth=2),
            AdamParams(2e-3, weight_decay=1e-4, schedule="one_cycle"),
        ),
        steps=40 * 60_000 // 256,
        batch_size=256,
        checkpoint_every=2000,
        sample_every=2000,
    )


def mnist_vae() -> Recipe:
    return Recipe(
        name="mnist_vae",
        summary="VAE with a 4-D latent: legible digits from N(0, I)",
        source="mnist",
        image=_MNIST,
        # A wider latent reconstructs better and leaves N(0, I) less covered: a classifier was
        # sure (>= 0.9) of 86% of the samples here, of 66% in a trial with 10 dimensions.
        objective=ELBO(
            VAEParams(latent=4, widths=(16, 32), decoder_widths=(16, 32), hidden=512, depth=2),
            AdamParams(2e-3, weight_decay=1e-4, schedule="one_cycle"),
        ),
        steps=30 * 60_000 // 256,
        batch_size=256,
        checkpoint_every=2000,
        sample_every=2000,
    )


def mnist_cgan() -> Recipe:
    return Recipe(
        name="mnist_cgan",
        summary="class-conditional DCGAN: a digit by its label",
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
                generator_width=48,
                discriminator_width=48,
                dropout=0.2,
                # Spectral norm, as for the frogs, left this one near chance against the generator.
                discriminator_norm="batch",
            ),
            label_noise=0.05,
        ),
        steps=6_000,
        batch_size=64,
        precision="bf16",
        ema_decay=0.999,
    )


def cifar10_frogs_dcgan() -> Recipe:
    return Recipe(
        name="cifar10_frogs_dcgan",
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


def images_dcgan() -> Recipe:
    return replace(
        cifar10_frogs_dcgan(),
        name="images_dcgan",
        summary="the same DCGAN on your own folder or zip of images, cropped and resized to 32x32",
        source="images",
    )


def digits_vae() -> Recipe:
    return Recipe(
        name="digits_vae",
        summary="small VAE on scikit-learn's bundled 8x8 digits: a try-out without any download",
        source="digits",
        image=ImageSpec(height=8, width=8, channels=1, value_range=(0.0, 1.0)),
        objective=ELBO(
            VAEParams(latent=4, height=8, width=8, widths=(16,), decoder_widths=(16,), hidden=128),
            AdamParams(2e-3, schedule="one_cycle"),
        ),
        steps=1500,
        batch_size=64,
        sample_every=500,
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    recipe.__name__: recipe
    for recipe in (
        mnist_vae_2d,
        mnist_vae,
        mnist_cgan,
        cifar10_frogs_dcgan,
        images_dcgan,
        digits_vae,
    )
}
