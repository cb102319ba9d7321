"""Test pictures as a translator's task: what it is given, what was wanted, and simple answers to
compare with.

Shapes: pictures uint8 [n, H, W, C], masks uint8 [n, H, W, 1], 255 where to act.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.errors import UnfitError
from benchmarks.quality.served import Images
from train.data import Dataset
from train.data.domains import turned
from train.tasks import TASKS


@dataclass(frozen=True, eq=False)
class Case:
    """One question to a translator, asked of n pictures."""

    given: Images
    wanted: Images | None
    """None where nobody knows: then only sets are compared."""
    real: Images
    """Real pictures of the kind that it makes, others than these."""
    simple: Mapping[str, Images] = field(default_factory=dict[str, Images])
    """What needs no network, by its name."""
    mask: Images | None = None
    name: str = ""
    """Ends the names of the figures, where there are several cases."""
    asked: str | None = None
    """The class that what is made should be recognised as."""


def cases(
    recipe: Mapping[str, Any],
    train: Dataset,
    test: Dataset,
    *,
    n: int,
    seed: int,
    back: bool = False,
) -> list[Case]:
    """The questions to the translator of a recipe (as JSON), about at most n test pictures. `back`:
    the way back of a CycleGAN."""
    objective = recipe["objective"]
    if objective["kind"] == "cycle":
        return [_unpaired(recipe["source"], train, test, n, back)]
    chosen, known, task = _shuffled(test, n), _shuffled(train, n), objective["task"]
    if task == "fill":
        return [_hole(chosen, known, name, seed) for name in ("centre", "free")]
    (given,) = _given(task, chosen, seed)
    if task == "repaint":
        return [Case(given, None, known)]
    simple: dict[str, Images] = {}
    if task == "colour":
        simple["grey"] = given.repeat(3, axis=3)
    if task == "enlarge":
        simple["bicubic"] = _bicubic(given, chosen.shape[1:3])
    return [Case(given, chosen, known, simple)]


def _unpaired(source: str, train: Dataset, test: Dataset, n: int, back: bool) -> Case:
    if source == "cifar10-turned":
        chosen, known = _shuffled(test, n), _shuffled(train, n)
        plain, changed = chosen, turned(chosen)
        given, wanted = (changed, plain) if back else (plain, changed)
        return Case(given, wanted, known if back else turned(known), {"unchanged": given})
    if source != "cifar10-horses-deer":
        raise UnfitError(f"expected a source whose kinds are known here, found {source}")
    before, after = ("deer", "horse") if back else ("horse", "deer")
    given, real = _shuffled(test, n, before), _shuffled(train, n, after)
    return Case(given, None, real, {"unchanged": given}, asked=after)


def _hole(pictures: Images, known: Images, name: str, seed: int) -> Case:
    _, mask = _given(f"fill_{name}", pictures, seed)
    mask = (mask > 127).astype(np.uint8) * np.uint8(255)
    hole = mask > 0
    # What is behind the mask is not to be read: it is black.
    given = np.where(hole, np.uint8(0), pictures)
    simple = {"mean": np.where(hole, _mean_colour(pictures, hole), pictures)}
    if find_spec("cv2") is not None:
        simple["opencv"] = _opencv(given, mask)
    return Case(given, pictures, known, simple, mask, name=f"_{name}")


def _mean_colour(pictures: Images, hole: NDArray[np.bool_]) -> Images:
    """The mean of what is known of each picture, [n, 1, 1, C]."""
    sums = np.where(hole, 0, pictures).sum(axis=(1, 2), keepdims=True, dtype=np.int64)
    counts = (~hole).sum(axis=(1, 2), keepdims=True)
    return np.rint(sums / np.maximum(counts, 1)).astype(np.uint8)


def _opencv(given: Images, mask: Images) -> Images:
    """Telea's fast marching (2004) by OpenCV, an optional package: `opencv-python-headless`."""
    cv2: Any = import_module("cv2")
    return np.stack(
        [
            cv2.inpaint(np.ascontiguousarray(image), own[:, :, 0], 3, cv2.INPAINT_TELEA)
            for image, own in zip(given, mask, strict=True)
        ]
    )


def _bicubic(small: Images, size: tuple[int, ...]) -> Images:
    height, width = size
    resized = (
        Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC) for image in small
    )
    return np.stack([np.asarray(image) for image in resized])


def _given(task: str, pictures: Images, seed: int) -> list[Images]:
    """The inputs of a task, as an artifact is given them: images, and masks in [0, 255]."""
    floats = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        images, *masks = TASKS[task].given(floats)
    values = [images * 127.5 + 127.5, *(mask * 255 for mask in masks)]
    return [v.round().clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8).numpy() for v in values]


def _shuffled(data: Dataset, n: int, kind: str | None = None) -> Images:
    """At most n pictures (of one class), the same ones each time."""
    kept = np.random.default_rng(0).permutation(len(data.images))
    if kind is not None:
        kept = kept[data.labels[kept] == data.classes.index(kind)]
    return data.images[kept[:n]]
