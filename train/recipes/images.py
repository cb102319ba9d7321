"""Your own folder or zip of pictures, of any size from 32 to 256.

Both recipes take their sizes as arguments: `python -m train images_gan --image-size 128` calls
`images_gan(image_size=128)`.
"""

from runtime.images import ImageSpec
from train.networks.dcgan import DCGANParams
from train.networks.vae import VAEParams
from train.objectives import ELBO, AdamParams, Adversarial
from train.recipes.recipe import Recipe, recipe

SIZES = tuple(sorted(start << stages for start in (4, 5, 6, 7) for stages in range(3, 7)))[:13]
"""Sides that halve to 4, 5, 6 or 7: the smallest feature map of both networks."""

FEW = 20_000
"""Up to so many pictures the discriminator would learn them by heart: they are augmented."""

_WIDTHS = ((40, 32), (80, 24), (160, 16), (256, 8))
"""Pictures up to this side, and the channels at their full size: each map of half the sides has
twice as many, so larger pictures get deeper networks and not wider ones."""


@recipe
def images_gan(
    image_size: int = 64,
    classes: int = 0,
    pictures: int = 0,
    width: int | None = None,
    mirror: bool = False,
) -> Recipe:
    """Relativistic pairs with R1 and R2 at every step (R3GAN, Huang et al. 2024, arXiv:2501.05441)
    on the networks of the DCGAN. Rate, width and batch are those of a trial with 2,500 emoji of
    64x64: shapes after 5,000 steps, faces and people after 17,000, which took 3.3 hours of two
    shared cores.

    `classes` labels (0: none); `pictures` of them to train on (0: not known yet), which decides
    about augmentation; `width` channels at full size; `mirror` them at random.
    """
    stages = _stages(image_size)
    width = width or _width(image_size)
    rate = AdamParams(1e-3, (0.0, 0.99))
    augmentation = ("colour", "shift", "cutout") if pictures <= FEW else ()
    return Recipe(
        summary="GAN of your own pictures, 32x32 to 256x256: relativistic loss, R1 and R2",
        source="images",
        image=ImageSpec(height=image_size, width=image_size, channels=3),
        objective=Adversarial(
            DCGANParams(
                height=image_size,
                width=image_size,
                stages=stages,
                discriminator_stages=stages,
                classes=classes,
                generator_width=width,
                discriminator_width=width,
                widest=512,
            ),
            generator=rate,
            discriminator=rate,
            loss="relativistic",
            r1=_penalty(image_size),
            r2=_penalty(image_size),
            augmentation=(("flip",) if mirror else ()) + augmentation,
        ),
        steps=20_000,
        batch_size=16,
        precision="bf16",
        ema_decay=0.999,
        checkpoint_every=250,
        sample_every=250,
        log_every=10,
    )


@recipe
def images_vae(image_size: int = 64, classes: int = 0, width: int | None = None) -> Recipe:
    """A VAE whose samples want a prior that is fitted after training (`python -m export prior`).

    `classes`: labels, which the decoder is told (0: none). `width`: channels at half the picture's
    size, doubled with each halving.
    """
    stages = _stages(image_size)
    width = width or _width(image_size)
    widths = tuple(min(width << stage, 512) for stage in range(stages))
    return Recipe(
        summary="VAE of your own pictures, 32x32 to 256x256; fit a prior to it after training",
        source="images",
        image=ImageSpec(height=image_size, width=image_size, channels=3, value_range=(0.0, 1.0)),
        objective=ELBO(
            VAEParams(
                latent=128,
                height=image_size,
                width=image_size,
                channels=3,
                classes=classes,
                widths=widths,
                decoder_widths=widths,
                depth=1,
            ),
            AdamParams(5e-4),
            likelihood="gaussian",
            gaussian_log_scale=-2.5,
        ),
        steps=20_000,
        batch_size=32,
        precision="bf16",
        ema_decay=0.999,
        checkpoint_every=500,
        sample_every=500,
        log_every=10,
    )


def _stages(size: int) -> int:
    """Halvings from the picture to the smallest map. Raises ValueError where there is none."""
    if size not in SIZES:
        expected = ", ".join(map(str, SIZES))
        raise ValueError(f"image_size: expected one of {expected}; found {size}")
    return (size // 4).bit_length() - 1


def _width(size: int) -> int:
    return next(width for most, width in _WIDTHS if size <= most)


def _penalty(size: int) -> float:
    """The weight of R1 and of R2: a gradient has as many numbers as the picture has pixels."""
    return (size / 64) ** 2
