"""A judge for any pictures: our own small network, taught by some of them.

It learns their classes where class folders hold enough of each, else which of four turns a picture
was given (Gidaris et al. 2018, arXiv:1803.07728), which needs no labels. Trained judges are kept in
the cache folder, each under what it was taught, never beside the pictures.
"""

import hashlib
import json
import logging
import math
import shutil
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from benchmarks.quality.classifier import train_on
from benchmarks.quality.judge import Classifier
from benchmarks.quality.network import ClassifierRecipe
from runtime.engines.cache import cache_folder
from runtime.machine import installed_version
from train.data import Dataset

logger = logging.getLogger(__name__)

_FEWEST_OF_A_CLASS = 30
"""Pictures a class, on average, from which classes are learned."""
_SMALLEST_MAP = 4
"""About the side of the last feature map."""
_SHIFTED = 64
"""The largest side of images that are shifted: it takes as long as a step of the network."""
_STEPS = 800
_BATCH = 64
_PASSES = 30
"""Over what is taught, at most: few pictures are known by heart after that."""
_SEED = 0
_QUARTERS = ("0 degrees", "90 degrees", "180 degrees", "270 degrees")
_MIRRORS = ("as it was", "mirrored", "upside down", "both")
TURNS = (_QUARTERS, _MIRRORS)
"""The classes of judges that learned turns."""


def judge_of(pictures: Dataset, others: Dataset) -> Classifier:
    """The judge that `pictures` teach, of the cache where it was taught by the same ones before;
    its record says under `test` what it knows of `others`. Its classes are those of the pictures,
    or the turns."""
    by_class = teaches_classes(pictures)
    recipe = _recipe(pictures, examples=len(pictures.images) * (1 if by_class else 4))
    subject = {
        "pictures": pictures.checksum,
        "classes": pictures.classes if by_class else None,
        "recipe": asdict(recipe),
        "seed": _SEED,
        "torch": installed_version("torch"),
    }
    digest = hashlib.sha256(json.dumps(subject, sort_keys=True).encode()).hexdigest()
    kept = cache_folder() / "judges" / f"own-{digest[:16]}.onnx"
    try:
        return Classifier(kept)
    except (OSError, ValueError, KeyError):  # none yet, or a damaged one
        pass
    lesson, test = (pictures, others) if by_class else (turned(pictures), turned(others))
    logger.info(
        "training a judge on %d of the pictures, by %s; it is kept as %s",
        len(pictures.images),
        "their classes" if by_class else "the turn each was given",
        kept,
    )
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / kept.name
        train_on(recipe, lesson, test, made, _SEED, bf16=False)
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            for suffix in (".onnx", ".json"):
                shutil.copyfile(made.with_suffix(suffix), kept.with_suffix(suffix))
        except OSError as error:
            logger.info("%s cannot be written (%s): it will be trained again", kept, error.strerror)
        return Classifier(made)


def teaches_classes(pictures: Dataset) -> bool:
    """Whether the classes are learned, not the turns."""
    classes = len(pictures.classes)
    return classes > 1 and len(pictures.images) >= _FEWEST_OF_A_CLASS * classes


def turned(pictures: Dataset) -> Dataset:
    """Each picture four times: turned by 0, 90, 180 and 270 degrees, which are its classes; where
    height and width differ, mirrored to the right, upside down, and both."""
    images = pictures.images
    _, height, width, _ = images.shape
    if height == width:
        classes = _QUARTERS
        turns = [np.rot90(images, quarter, axes=(1, 2)) for quarter in range(4)]
    else:
        classes = _MIRRORS
        turns = [images, images[:, :, ::-1], images[:, ::-1], images[:, ::-1, ::-1]]
    labels = np.arange(len(turns)).repeat(len(images))
    return replace(pictures, images=np.concatenate(turns), labels=labels, classes=classes)


def _recipe(pictures: Dataset, examples: int) -> ClassifierRecipe:
    """Fewer features for fewer pictures: a Fréchet distance wants several pictures a feature."""
    count, height, width, channels = pictures.images.shape
    features = 32 if count < 500 else 64 if count < 2000 else 128
    side = min(height, width)
    # Of a convolution that divides the sides of large images first (`ClassifierRecipe.stride`).
    mapped = min(side, 64)
    halvings = max(1, round(math.log2(max(2, mapped / _SMALLEST_MAP))))
    return ClassifierRecipe(
        name="own",
        height=height,
        width=width,
        channels=channels,
        widths=tuple(max(16, features >> (halvings - i)) for i in range(halvings + 1)),
        steps=min(_STEPS, _PASSES * examples // _BATCH),
        batch=_BATCH,
        learning_rate=5e-3,
        flip=False,
        shift=side // 16 if side <= _SHIFTED else 0,
        turn=0.0,
    )
