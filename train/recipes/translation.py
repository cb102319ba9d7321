"""Picture to picture: pix2pix, inpainting, super-resolution, style transfer, on CIFAR-10.

Each is a few times narrower than its paper's, for pictures of 32x32 and an hour of one CPU core.
Those with `_l1` are the same networks without the adversarial term, for comparison.
"""

from dataclasses import replace

from runtime.images import ImageSpec
from train.networks.residual import ResidualParams
from train.networks.unet import UNetParams
from train.objectives import AdamParams, Translation
from train.recipes.recipe import Recipe, recipe


def _cifar10(summary: str, objective: Translation, steps: int) -> Recipe:
    return Recipe(
        summary=summary,
        source="cifar10",
        image=ImageSpec(height=32, width=32, channels=3),
        objective=objective,
        steps=steps,
        batch_size=32,
        ema_decay=0.999,
    )


def _by_pixels_alone(base: Recipe, summary: str) -> Recipe:
    objective = replace(base.objective, adversarial=0.0, content=0.0, pixel=1.0, warm_up=0.0)
    return replace(base, summary=summary, objective=objective)


@recipe
def cifar10_pix2pix() -> Recipe:
    """The paper's weights: 100 for L1, 1 for the discriminator."""
    return _cifar10(
        "pix2pix: grey pictures of CIFAR-10 in colour",
        Translation(UNetParams(), "colour", pixel=100.0, adversarial=1.0),
        steps=12_000,
    )


@recipe
def cifar10_pix2pix_l1() -> Recipe:
    return _by_pixels_alone(cifar10_pix2pix(), "the same without the discriminator")


@recipe
def cifar10_pix2pix_edges() -> Recipe:
    colour = cifar10_pix2pix()
    objective = replace(colour.objective, task="edges")
    return replace(colour, summary="pix2pix: pictures from their edges", objective=objective)


@recipe
def cifar10_pix2pix_edges_l1() -> Recipe:
    return _by_pixels_alone(cifar10_pix2pix_edges(), "the same without the discriminator")


@recipe
def cifar10_inpainting() -> Recipe:
    """The difference of pixels is a mean over the whole picture and lies in the hole alone: a
    quarter of it in the middle; of a stroke 31% in the mean, 7 to 62% (4,000 strokes at 32x32).
    With 400, what is in the middle weighs as a whole picture does with pix2pix's 100."""
    return _cifar10(
        "inpainting: the middle of a picture, or a stroke across it, painted anew",
        Translation(UNetParams(), "fill", pixel=400.0, adversarial=1.0),
        steps=12_000,
    )


@recipe
def cifar10_inpainting_l1() -> Recipe:
    return _by_pixels_alone(cifar10_inpainting(), "the same without the discriminator")


@recipe
def cifar10_srgan() -> Recipe:
    """SRGAN's terms on ESRGAN's kind of network, without norms."""
    return _cifar10(
        "super-resolution: 8x8 to 32x32, with a discriminator and a classifier's features",
        Translation(
            ResidualParams(features=48, halvings=0, blocks=6, norm="none"),
            "enlarge",
            pixel=1.0,
            adversarial=0.02,
            content=0.3,
            warm_up=0.3,
        ),
        steps=12_000,
    )


@recipe
def cifar10_srgan_l1() -> Recipe:
    return _by_pixels_alone(cifar10_srgan(), "the same by pixels alone")


@recipe
def cifar10_style_mosaic() -> Recipe:
    """One network a style, at the size of the pictures and without norms. Two halvings, as
    Johnson's network has them at 256x256, leave 8x8 of these, from which it could not make them
    again (its loss stayed at 0.8); and instance norms take away how bright a picture is, so that at
    full size it could not copy one either (a difference of pixels of 0.14 after 1,200 steps, 0.03
    without). Averaged weights would lag behind the classifier's."""
    return replace(
        _cifar10(
            "style transfer: pictures as mosaics",
            Translation(
                ResidualParams(features=24, halvings=0, blocks=4, norm="none"),
                "repaint",
                generator=AdamParams(5e-4),
                pixel=0.0,
                content=1.0,
                style=2.0,
                style_of="mosaic",
                warm_up=0.3,
            ),
            steps=5_000,
        ),
        precision="bf16",
        ema_decay=0.0,
    )


@recipe
def cifar10_style_waves() -> Recipe:
    mosaic = cifar10_style_mosaic()
    objective = replace(mosaic.objective, style_of="waves")
    return replace(mosaic, summary="style transfer: in coloured waves", objective=objective)
