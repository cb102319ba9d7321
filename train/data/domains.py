"""Two kinds of pictures without pairs: the classes of these sources are what a CycleGAN knows.

Any folder with two folders of pictures in it will do as well (source `images`).
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.images import ImageSpec
from train.data.dataset import Dataset, Splits
from train.data.folders import load_cifar10
from train.data.source import Options, source
from train.errors import DataError


def turned(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The negative, with every hue turned by 120 degrees: white becomes black, red magenta, blue
    cyan, green yellow; six times turned is as before. [..., 3]"""
    return 255 - images[..., [2, 0, 1]]


@source("cifar10-turned")
def load_turned(path: Path | None, spec: ImageSpec, options: Options) -> Splits:
    """Half of the pictures as they are, the other half with their colours `turned`: no picture is
    in both, and yet what each would be in the other is known."""
    whole = load_cifar10(path, spec, options).train
    chosen = np.random.default_rng(0).permutation(len(whole.images))
    half = len(chosen) // 2
    return Splits(
        _domains(
            f"{whole.name}-turned",
            {
                "as it is": whole.images[chosen[:half]],
                "colours turned": turned(whole.images[chosen[half:]]),
            },
            whole.licence,
        )
    )


@source("cifar10-horses-deer")
def load_horses_deer(path: Path | None, spec: ImageSpec, options: Options) -> Splits:
    """Horses and deer."""
    whole = load_cifar10(path, spec, replace(options, labels=True)).train
    kinds = ("horse", "deer")
    if missing := set(kinds) - set(whole.classes):
        raise DataError(f"{path}: expected folders horse and deer, found no {', '.join(missing)}")
    images = {kind: whole.images[whole.labels == whole.classes.index(kind)] for kind in kinds}
    return Splits(_domains("cifar10-horses-deer", images, whole.licence))


def _domains(name: str, images: dict[str, NDArray[np.uint8]], licence: str) -> Dataset:
    sizes = [len(each) for each in images.values()]
    return Dataset(
        name=name,
        images=np.concatenate(list(images.values())),
        labels=np.repeat(np.arange(len(sizes)), sizes),
        classes=tuple(images),
        licence=licence,
    )
