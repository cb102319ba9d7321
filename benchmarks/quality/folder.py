"""An artifact's images against any folder of pictures, in the features of a judge of its own.

The pictures are parted at random: some teach the judge (`own_judge`), and the rest, which it has
not seen, are halved several times over. Samples are compared with the one half and, as the floor of
every figure, the other half is too: always as many images as pictures.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import runtime
from benchmarks.quality.distances import nearest, set_distance
from benchmarks.quality.judge import Classifier, subject
from benchmarks.quality.own_judge import TURNS, judge_of, teaches_classes
from benchmarks.quality.served import Images, collected, sample
from benchmarks.quality.verdicts import Figures, accuracy
from benchmarks.report import table
from runtime.artifact.manifest import Manifest
from runtime.images import contact_sheet
from runtime.requests import answered, answers
from runtime.requests.reconstruct import Reconstruct
from train.data import Dataset, load
from train.errors import DataError

logger = logging.getLogger(__name__)

FEWEST = 50
"""Images of a set, at least: fewer say nothing."""
FEW = 500
"""Below so many images of a set, the table says that only large differences count."""
DIVISIONS = 5
"""How many times the unseen pictures are halved."""
_TAUGHT_BYTES = 256 << 20
"""Pixels that teach the judge, at most: turns are four times as many."""
_NEIGHBOURED = 1000
_SHOWN = 16
_THUMBNAIL = 32
_GUESSING = 1.2
"""A judge that is right less than so many times as often as by guessing has not learned."""

ROWS = {
    "frechet": "Fréchet distance",
    "density": "density",
    "coverage": "coverage",
    "precision": "precision",
    "recall": "recall",
    "as_asked": "recognised as the label asked for (share)",
    "nearest_pixels": "nearest picture, median (RMS, grey levels, thumbnails)",
    "reconstruction": "reconstruction (RMS, grey levels)",
}
"""Figure -> its words."""
MEANING = """
`real` is what as many other pictures of the folder reach: the best that can be expected.
Fréchet distance: smaller is more alike. Density, precision: how near single images are to pictures.
Coverage, recall: how much of the pictures' variety the images reach. ±: standard deviation over
{divisions} divisions. Figures of another folder, size or number cannot be compared with these.
"""


@dataclass(frozen=True, eq=False)
class Judged:
    """What was found: figures, a sheet [H, W, C], what was measured against what, a table."""

    figures: Figures
    sheet: Images
    subject: Mapping[str, Any]
    text: str


@dataclass(frozen=True, eq=False)
class Parted:
    """A folder's pictures: those that teach, and those that are compared with, an even number."""

    taught: Dataset
    held: Dataset

    @property
    def size(self) -> int:
        """Images of a set."""
        return len(self.held.images) // 2


def judged(
    model: runtime.Model, folder: Path, only: str | None = None, n: int = 10_000, seed: int = 0
) -> Judged:
    """A model's images against the pictures of a folder, or of one of its classes: at most n, a
    third of the pictures. DataError where there are too few, or nothing that can be judged."""
    _asked(model.manifest)
    data, by_name = pictures_of(model.manifest, folder, only)
    figures, sheet, judge = measure(model, parted(data, n), by_name=by_name, seed=seed)
    measured = subject(model, [judge], pictures=data.checksum, only=only)
    return Judged(figures, sheet, measured, printed(measured["artifact"], folder, judge, figures))


def pictures_of(manifest: Manifest, folder: Path, only: str | None = None) -> tuple[Dataset, bool]:
    """The folder's pictures at the artifact's image size, opened, cropped and resized as for
    training; and whether its classes are labels of the artifact.

    `only` keeps one class. Images beside class folders are a class, "image". Where some classes are
    labels, the others are left out. DataError where there is no such class, or no picture.
    """
    logger.info("reading the pictures of %s", folder)
    try:
        data = load("images", folder, manifest.image()).train
    except DataError:  # of images beside class folders, or the same again
        data = load("images", folder, manifest.image(), labels=False).train
    if only is not None:
        if only not in data.classes:
            raise DataError(f"--only: expected one of {', '.join(data.classes)}, found {only}")
        data = _of_classes(data, [only])
    if manifest.labels is None:
        return data, False
    known = [name for name in data.classes if name in manifest.labels]
    if not known:
        logger.warning(
            "no class folder is named as a label of %s (%s, ...): its labels are drawn evenly",
            manifest.name,
            manifest.labels[0],
        )
        return data, False
    if others := [name for name in data.classes if name not in known]:
        logger.warning("left out classes that are no labels of the artifact: %s", ", ".join(others))
        data = _of_classes(data, known)
    return data, True


def parted(data: Dataset, n: int) -> Parted:
    """At most n images a set, a third of the pictures; what is left of them teaches the judge."""
    total = len(data.images)
    if total < 3 * FEWEST or n < FEWEST:
        raise DataError(
            f"expected at least {3 * FEWEST} pictures and --n {FEWEST}, found {total} and {n}: "
            f"distances between sets of fewer than {FEWEST} say nothing"
        )
    size = min(n, total // 3)
    order = np.random.default_rng(0).permutation(total)
    most = max(FEWEST, _TAUGHT_BYTES // data.images[0].size)
    held, rest = order[: 2 * size], order[2 * size :][:most]
    return Parted(data.rows(data.name, rest), data.rows(data.name, held))


def measure(
    model: runtime.Model, pictures: Parted, *, by_name: bool, seed: int = 0
) -> tuple[Figures, Images, Classifier]:
    """All figures that suit the model, a sheet [H, W, C] of some of its images, each kind over its
    pictures (the nearest ones, or those that were reconstructed), and the judge.

    `by_name`: the pictures' classes are labels of the model. DataError for a model of which
    nothing can be judged.
    """
    asked = _judgeable(model.manifest, by_name)
    held, n = pictures.held, pictures.size
    judge = judge_of(pictures.taught, held)
    figures: Figures = {"n": n, "seed": seed, "taught": len(pictures.taught.images)}
    figures |= {"held": len(held.images), "judge_accuracy": judge.record["test"]["accuracy"]}
    names = [held.classes[label] for label in held.labels] if by_name else None
    shown_real, real = judge(held.images)
    made: dict[str, NDArray[np.float32]] = {}
    sheets: list[Images] = []
    if "sample" in asked:
        samples = sample(model, n, seed, label=None if names is None else names[:n])
        shown, made[""] = judge(samples)
        if by_name and teaches_classes(pictures.taught):
            figures["as_asked"] = accuracy(shown, held.labels[:n])["as_asked"]
            figures["as_asked_real"] = accuracy(shown_real, held.labels)["as_asked"]
        near, sheet = _neighbours(samples, pictures)
        figures |= near
        sheets.append(sheet)
    if "reconstruct" in asked:
        batches = model.batches(Reconstruct(held.images, names))
        rebuilt = collected(batches, len(held.images), "reconstructing")
        squares = (rebuilt.astype(np.float32) - held.images) ** 2
        figures["reconstruction"] = float(np.sqrt(squares.mean(dtype=np.float64)))
        _, made["_reconstructed"] = judge(rebuilt)
        rows = np.concatenate([rebuilt[:_SHOWN], held.images[:_SHOWN]])
        sheets.append(contact_sheet(rows, _SHOWN))
    return figures | _divided(made, real, n), np.concatenate(sheets), judge


def _asked(manifest: Manifest) -> list[str]:
    """What may be judged of an artifact: `sample`, `reconstruct`, or both."""
    asked = [request for request in ("sample", "reconstruct") if answers(manifest, request)]
    if not asked:
        raise DataError(
            f"{manifest.name}: expected an artifact that samples or reconstructs, found one that "
            f"answers {', '.join(answered(manifest))}: a folder of pictures does not say what "
            "these should give"
        )
    return asked


def _judgeable(manifest: Manifest, by_name: bool) -> list[str]:
    """The same, beside these pictures."""
    asked = _asked(manifest)
    if "reconstruct" in asked and manifest.labels is not None and not by_name:
        asked.remove("reconstruct")
        logger.warning("no reconstructions: the encoder takes labels, and no class folder has any")
        if not asked:
            raise DataError(
                f"{manifest.name}: expected class folders named as its labels "
                f"({', '.join(manifest.labels[:5])}, ...): it samples nothing, and its encoder "
                "takes labels"
            )
    return asked


def _divided(made: dict[str, NDArray[np.float32]], real: NDArray[np.float32], n: int) -> Figures:
    """Distances of sets of features, each with its suffix, and of as many real ones, to real ones:
    means over several divisions of these [2 n, D], and their standard deviations. Of what was made
    of each picture [2 n, D], the half is taken whose pictures are not compared with."""
    logger.info("comparing %d images with as many pictures, %d times", n, DIVISIONS)
    generator = np.random.default_rng(0)
    found: dict[str, list[float]] = {}
    for _ in range(DIVISIONS):
        known, others = np.split(generator.permutation(2 * n), 2)
        for suffix, features in ({**made, "_real": real}).items():
            chosen = features if len(features) == n else features[others]
            for name, value in set_distance(chosen, real[known]).items():
                found.setdefault(name + suffix, []).append(value)
    figures = {name: float(np.mean(values)) for name, values in found.items()}
    return figures | {f"{name}_deviation": float(np.std(v, ddof=1)) for name, v in found.items()}


def _neighbours(samples: Images, pictures: Parted) -> tuple[Figures, Images]:
    """How near samples, and unseen pictures, are to the other pictures; samples over the nearest:
    copies of what a network was trained on would be nearer than pictures are to each other."""
    held, n = pictures.held.images, pictures.size
    known = np.concatenate([pictures.taught.images, held[:n]])
    small = thumbnails(known)
    indices, distance = nearest(thumbnails(samples[:_NEIGHBOURED]), small)
    _, real = nearest(thumbnails(held[n:][:_NEIGHBOURED]), small)
    rows = np.concatenate([samples[:_SHOWN], known[indices[:_SHOWN]]])
    return {"nearest_pixels": distance, "nearest_pixels_real": real}, contact_sheet(rows, _SHOWN)


def thumbnails(images: Images) -> Images:
    """Images [n, H, W, C] made smaller by a whole number, to at most 32 pixels a side."""
    n, height, width, channels = images.shape
    block = -(-max(height, width) // _THUMBNAIL)
    down, across = max(1, height // block), max(1, width // block)
    cropped = images[:, : down * block, : across * block]
    cells = cropped.reshape(n, down, cropped.shape[1] // down, across, -1, channels)
    return cells.mean(axis=(2, 4)).round().astype(np.uint8)


def printed(artifact: str, folder: Path, judge: Classifier, figures: Figures) -> str:
    """The figures as a table, and what they mean."""
    n, classes = int(figures["n"]), len(judge.classes)
    lesson = "turns" if judge.classes in TURNS else f"{classes} classes"
    right = figures["judge_accuracy"]
    said = [
        f"{artifact} and {folder}: {n} images a set; {int(figures['held'])} pictures are compared "
        f"with, and {int(figures['taught'])} others taught the judge their {lesson} ({right:.0%} "
        f"right on pictures that it had not seen; guessing: {1 / classes:.0%})."
    ]
    columns = [c for c in ("", "_reconstructed", "_real") if f"frechet{c}" in figures]
    titles = {"": "samples", "_reconstructed": "reconstructed", "_real": "real"}
    header = ["", *(cell for c in columns for cell in (titles[c], "±"))]
    rows = [
        [words, *(figures.get(f"{name}{c}{end}") for c in columns for end in ("", "_deviation"))]
        for name, words in ROWS.items()
        if any(f"{name}{c}" in figures for c in columns)
    ]
    said += [table(header, rows), MEANING.format(divisions=DIVISIONS)]
    if n < FEW:
        said.append(f"{n} images a set are few: only differences of several ± mean anything.")
    if right < _GUESSING / classes:
        said.append("The judge learned hardly more than to guess: trust the sheet (--out) more.")
    return "\n".join(said).strip()


def _of_classes(data: Dataset, names: list[str]) -> Dataset:
    """The pictures of some of the classes."""
    numbers = [data.classes.index(name) for name in names]
    chosen = np.flatnonzero(np.isin(data.labels, numbers))
    labels = np.searchsorted(numbers, data.labels[chosen])
    return replace(data, images=data.images[chosen], labels=labels, classes=tuple(names))
