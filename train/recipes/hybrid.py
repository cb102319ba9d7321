"""GANs with an encoder, each beside the VAE of the same encoder and decoder.

Digits and frogs; of each a VAE, a VAE/GAN and an alpha-GAN, for as many steps: those of a hybrid
take about half an hour to an hour of one core.
"""

from dataclasses import replace

from runtime.images import ImageSpec
from train.networks.dcgan import DCGANParams
from train.networks.encoded_gan import EncodedGANParams
from train.objectives import ELBO, AdamParams, Hybrid
from train.recipes.recipe import Recipe, recipe

_RATE = AdamParams(4e-4, (0.5, 0.99))

_DIGITS = EncodedGANParams(
    DCGANParams(
        latent=16,
        height=28,
        width=28,
        channels=1,
        stages=2,
        generator_width=32,
        discriminator_width=32,
        discriminator_norm="spectral",
    )
)
_FROGS = EncodedGANParams(
    DCGANParams(
        latent=64, generator_width=32, discriminator_width=32, discriminator_norm="spectral"
    ),
    widths=(32, 64, 128),
)


@recipe
def mnist_vae_dcgan() -> Recipe:
    return Recipe(
        summary="VAE whose decoder is a DCGAN's generator: what a discriminator adds to it",
        source="mnist",
        image=ImageSpec(height=28, width=28, channels=1),
        objective=ELBO(_DIGITS, _RATE, likelihood="gaussian", gaussian_log_scale=-1.0),
        steps=12_000,
        batch_size=64,
        ema_decay=0.999,
    )


@recipe
def mnist_vae_gan() -> Recipe:
    """Larsen et al. (2016)."""
    return replace(
        mnist_vae_dcgan(),
        summary="VAE/GAN: digits compared by features of a discriminator",
        objective=Hybrid(
            _DIGITS,
            compare="features",
            match="divergence",
            encoder_weight=10.0,
            generator_weight=0.2,
            encoder=_RATE,
            generator=_RATE,
            discriminator=_RATE,
        ),
    )


@recipe
def mnist_alpha_gan() -> Recipe:
    """Rosca et al. (2017), but for the generator's and the encoder's adversarial loss: see
    `Hybrid.loss`."""
    return replace(
        mnist_vae_dcgan(),
        summary="alpha-GAN: digits compared by pixels, codes by a discriminator of their own",
        objective=Hybrid(
            _DIGITS,
            compare="pixels",
            match="codes",
            encoder_weight=0.05,
            generator_weight=0.05,
            encoder=_RATE,
            generator=_RATE,
            discriminator=_RATE,
        ),
    )


@recipe
def cifar10_frogs_vae() -> Recipe:
    return replace(
        mnist_vae_dcgan(),
        summary="VAE of frogs whose decoder is a DCGAN's generator",
        source="cifar10-frogs",
        image=ImageSpec(height=32, width=32, channels=3),
        objective=ELBO(_FROGS, _RATE, likelihood="gaussian", gaussian_log_scale=-1.5),
        steps=10_000,
    )


def _frogs(digits: Recipe, summary: str) -> Recipe:
    """The same objective as of digits, with what 5,000 pictures need: the discriminator sees
    them changed."""
    objective = replace(
        digits.objective, network=_FROGS, augmentation=("flip", "colour", "shift", "cutout")
    )
    return replace(cifar10_frogs_vae(), summary=summary, objective=objective)


@recipe
def cifar10_frogs_vae_gan() -> Recipe:
    return _frogs(mnist_vae_gan(), "VAE/GAN of frogs, compared by features of a discriminator")


@recipe
def cifar10_frogs_alpha_gan() -> Recipe:
    made = _frogs(mnist_alpha_gan(), "alpha-GAN of frogs, compared by pixels")
    return replace(
        made, objective=replace(made.objective, encoder_weight=0.02, generator_weight=0.02)
    )
