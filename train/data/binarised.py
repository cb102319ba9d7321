"""Binary images: every pixel one Bernoulli draw with its grey level as the mean.

Salakhutdinov and Murray (2008), "On the quantitative analysis of deep belief networks", section
4.1. Likelihoods of MNIST are reported on such images; the published figures come from other draws.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.images import ImageSpec
from train.data import mnist
from train.data.dataset import Dataset, Splits
from train.data.source import Options, source

SEED = 0


def binarise(images: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """uint8 images of grey levels g -> 255 with probability g / 255, else 0.

    Pixel i in C order follows word i of Philox4x64-10 (numpy's, key `seed`): the same bits on
    every machine.
    """
    words = np.random.Philox(key=seed).random_raw(images.size).reshape(images.shape)
    # 2^64 - 1 = 255 * 0x0101...: exact thresholds, without a float.
    white = words < images * np.uint64(0x0101_0101_0101_0101)
    return white.astype(np.uint8) * np.uint8(255)


def binarised(data: Dataset) -> Dataset:
    """The fixed binary draw of a data set."""
    return replace(data, name=f"{data.name}-binarised", images=binarise(data.images, SEED))


@source("mnist-binarised")
def load(path: Path | None, spec: ImageSpec, options: Options) -> Splits:
    """Grey training images, to be drawn anew at every step, and a fixed draw of those held out."""
    splits = mnist.load(path, spec, options)
    return replace(splits, test=splits.test and binarised(splits.test))
