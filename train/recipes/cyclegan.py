"""CycleGAN on pictures of CIFAR-10, without pairs."""

from dataclasses import replace

from runtime.images import ImageSpec
from train.networks.residual import ResidualParams
from train.objectives import Cycle
from train.recipes.recipe import Recipe, recipe


@recipe
def cifar10_cyclegan() -> Recipe:
    """What each picture would be in the other kind is known, so its accuracy can be measured; the
    training does not know it. Without the identity term: the same picture may be of either kind,
    and must not stay as it is where it is of one. Without norms, which would take away how bright a
    picture is (`cifar10_style_mosaic`)."""
    return Recipe(
        summary="CycleGAN: negatives with turned hues, learned from pictures without pairs",
        source="cifar10-turned",
        image=ImageSpec(height=32, width=32, channels=3),
        objective=Cycle(
            ResidualParams(features=24, halvings=1, blocks=3, norm="none"), identity=0.0
        ),
        steps=5_000,
        batch_size=16,
        balanced=True,
        precision="bf16",
        ema_decay=0.999,
    )


@recipe
def cifar10_cyclegan_horses() -> Recipe:
    turned = cifar10_cyclegan()
    return replace(
        turned,
        summary="CycleGAN: horses into deer and back",
        source="cifar10-horses-deer",
        objective=replace(turned.objective, identity=0.5),
    )
