"""Arithmetic of latents: thick sevens - thin sevens + thin ones = thick ones?

Radford et al. (2016), arXiv:1511.06434, section 6.3.2: each term is the mean latent of three
samples of a kind. Their kinds were chosen and their results judged by eye; here a frozen classifier
reads the digit and the pixels give the attribute, so that results can be counted.

With --data the terms are encoded images instead of samples, for models with an encoder: attribute
vectors, as Larsen et al. (2016), arXiv:1512.09300, have them.

Shapes: N samples, Z latent size, K classes, T trials.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import runtime
from benchmarks.errors import UnfitError
from benchmarks.plot import pyplot
from benchmarks.quality.judge import Classifier, load_classifier
from benchmarks.quality.served import Images, parser, sample, served
from benchmarks.quality.verdicts import SURE, Figures
from benchmarks.report import table
from benchmarks.results import record
from train.data.mnist import load_mnist

SAMPLES = 20_000
"""Samples among which the kinds are looked for."""
EXEMPLARS = 3
"""Samples whose latents a term is the mean of."""
TAIL = 0.1
"""The share of a class that counts as thick, or as thin."""
TRIALS = 20
"""Draws of exemplars for each pair of classes."""
SHOWN = ((7, 1), (0, 3), (4, 9), (2, 8))
"""Pairs of classes (a, b) on the picture."""
BATCH = 500
"""Images that are encoded at a time."""
JITTER = 0.25
"""Uniform noise on a result's latent, for its variants on the picture, as in the paper."""

Latents = NDArray[np.float32]


def stroke_width(images: Images) -> NDArray[np.float64]:
    """Mean width of the strokes in pixels: twice their area over the length of their edges, which
    is the total variation; images [N, H, W, 1] -> [N]."""
    ink = images[..., 0] / 255.0
    padded = np.pad(ink, ((0, 0), (1, 1), (1, 1)))
    down, right = np.diff(padded, axis=1)[:, :, :-1], np.diff(padded, axis=2)[:, :-1]
    edges = np.hypot(down, right).sum(axis=(1, 2))
    return 2 * ink.sum(axis=(1, 2)) / np.maximum(edges, 1e-9)


def slant(images: Images) -> NDArray[np.float64]:
    """How far strokes lean to the right, pixels a pixel of height: the shear that would set them
    upright, by second moments; images [N, H, W, 1] -> [N]."""
    ink = images[..., 0] / 255.0
    mass = np.maximum(ink.sum(axis=(1, 2)), 1e-9)
    rows, columns = (np.arange(side, dtype=np.float64) for side in ink.shape[1:])
    y = (ink.sum(axis=2) * rows).sum(axis=1) / mass
    x = (ink.sum(axis=1) * columns).sum(axis=1) / mass
    to_row, to_column = rows - y[:, None], columns - x[:, None]
    covariance = np.einsum("nhw,nh,nw->n", ink, to_row, to_column)
    variance = np.einsum("nhw,nh->n", ink, to_row**2)
    return -covariance / np.maximum(variance, 1e-9)


ATTRIBUTES: dict[str, Callable[[Images], NDArray[np.float64]]] = {
    "stroke": stroke_width,
    "slant": slant,
}
"""Attribute -> its measure; high is thick, or leaning to the right."""
WORDS = {"stroke": ("thick", "thin"), "slant": ("leaning right", "leaning left")}


@dataclass(frozen=True, eq=False)
class Kinds:
    """Samples sorted by what they show: latents by class, [K] of [n, Z]."""

    all: list[Latents]
    high: list[Latents]
    low: list[Latents]
    median: NDArray[np.float64]
    """The attribute's median in each class, [K]."""


def sorted_by(
    attribute: str,
    latents: Latents,
    images: Images,
    shown: NDArray[np.int64],
    classes: Sequence[str],
) -> Kinds:
    """What is legible among samples, by class (its index in `shown`, -1: none) and attribute."""
    values = ATTRIBUTES[attribute](images)
    every, high, low, medians = [], [], [], []
    for index, name in enumerate(classes):
        members = np.flatnonzero(shown == index)
        count = int(TAIL * len(members))
        if count < EXEMPLARS:
            raise UnfitError(
                f"expected at least {EXEMPLARS / TAIL:.0f} legible samples of {name}, "
                f"found {len(members)} of {len(images)}"
            )
        order = members[np.argsort(values[members])]
        every.append(latents[members])
        low.append(latents[order[:count]])
        high.append(latents[order[-count:]])
        medians.append(np.median(values[members]))
    return Kinds(every, high, low, np.array(medians))


def encoded(model: runtime.Model, images: Images) -> Latents:
    """The mean of each image's posterior, [N, Z]."""
    parts = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    return np.concatenate([model.encode(part).mean for part in parts])


def legible_class(images: Images, classifier: Classifier) -> NDArray[np.int64]:
    """The class that each image shows beyond doubt, -1 where there is none: [N]."""
    probabilities, _ = classifier(images)
    return np.where(probabilities.max(axis=1) >= SURE, probabilities.argmax(axis=1), -1)


def exemplars(kind: Latents, generator: np.random.Generator) -> Latents:
    """EXEMPLARS different latents of a kind [n, Z]."""
    return kind[generator.choice(len(kind), EXEMPLARS, replace=False)]


def terms(kinds: Kinds, a: int, b: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Exemplars of high a, low a, low b: [3, EXEMPLARS, Z]."""
    chosen = (kinds.high[a], kinds.low[a], kinds.low[b])
    return np.stack([exemplars(kind, generator) for kind in chosen])


def result(chosen: NDArray[np.float32]) -> NDArray[np.float32]:
    """First - second + third, each the mean of its exemplars; [..., 3, EXEMPLARS, Z] -> [..., Z].
    Its length is that of a draw from N(0, I), where its terms are such draws."""
    first, second, third = np.moveaxis(chosen.mean(axis=-2), -2, 0)
    return first - second + third


def measure(
    model: runtime.Model, classifier: Classifier, attribute: str, kinds: Kinds, seed: int
) -> Figures:
    """Shares of results that are recognised as b, and that are besides in the upper half of b by
    the attribute. `control`: the same with samples of a whose attribute is random,
    so that chance alone moves b."""
    generator = np.random.default_rng(seed)
    pairs = [(a, b) for a in range(len(kinds.all)) for b in range(len(kinds.all)) if a != b]
    wanted = np.array([b for _, b in pairs for _ in range(TRIALS)])
    chosen = np.stack([terms(kinds, a, b, generator) for a, b in pairs for _ in range(TRIALS)])
    control = chosen.copy()
    for trial in range(len(control)):
        of_a = kinds.all[pairs[trial // TRIALS][0]]
        drawn = generator.choice(len(of_a), 2 * EXEMPLARS, replace=False)
        control[trial, :2] = of_a[drawn].reshape(2, EXEMPLARS, -1)
    figures = {}
    for suffix, made in (("", chosen), ("_control", control)):
        images = model.decode(result(made))
        right = classifier(images)[0].argmax(axis=1) == wanted
        high = ATTRIBUTES[attribute](images) > kinds.median[wanted]
        figures[f"{attribute}_class{suffix}"] = float(right.mean())
        figures[f"{attribute}_class_and_high{suffix}"] = float((right & high).mean())
    return figures


def draw(path: Path, model: runtime.Model, kinds: dict[str, Kinds], seed: int) -> None:
    """For each attribute and pair of SHOWN a row: three exemplars and the picture of their mean for
    each term, then the result and three variants of it. The first draw of each, none chosen."""
    generator = np.random.default_rng(seed)
    plt = pyplot()
    figure, axes = plt.subplots(len(kinds), 1, figsize=(8.6, 5.4), layout="constrained")
    for panel, (attribute, kind) in zip(np.atleast_1d(axes), kinds.items(), strict=True):
        rows = []
        for a, b in SHOWN:
            chosen = terms(kind, a, b, generator)
            made = result(chosen)
            noise = generator.uniform(-JITTER, JITTER, (3, len(made))).astype(np.float32)
            groups = [*(np.concatenate([t, t.mean(axis=0)[None]]) for t in chosen)]
            groups.append(np.concatenate([made[None], made + noise]))
            strips = [np.hstack(list(model.decode(group)[..., 0])) for group in groups]
            gap = np.full((strips[0].shape[0], 10), 255, np.uint8)
            rows.append(np.hstack([part for strip in strips for part in (strip, gap)][:-1]))
        panel.imshow(np.vstack(rows), cmap="gray", vmin=0, vmax=255)
        high, low = WORDS[attribute]
        width = strips[0].shape[1]
        titles = (f"a, {high}; mean", f"- a, {low}; mean", f"+ b, {low}; mean", f"= b, {high}?")
        for column, title in enumerate(titles):
            centre = column * (width + 10) + width / 2
            panel.text(centre, -6, title, ha="center", va="bottom", fontsize=9)
        panel.axis("off")
    figure.savefig(path, format="png", dpi=110)
    plt.close(figure)


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks arithmetic ARTIFACT_OR_RUN`"""
    subject = "an unconditional artifact of MNIST, or a run"
    options = parser("arithmetic", __doc__, subject=subject)
    options.add_argument("--out", type=Path, help="draw some results there, PNG")
    options.add_argument(
        "--data", type=Path, help="the MNIST files: kinds of encoded test images, not of samples"
    )
    chosen = options.parse_args(arguments)
    classifier = load_classifier("mnist")
    test = None if chosen.data is None else load_mnist(chosen.data).test
    if chosen.data is not None and test is None:
        options.error(f"--data: expected MNIST's test files in {chosen.data}")
    with served(chosen.subject) as model:
        if test is not None and "encode" not in model.manifest.graphs:
            options.error(f"--data: expected a model with an encoder, found {model.manifest.name}")
        if test is None:
            latents = model.latents(SAMPLES, seed=chosen.seed)
            images = sample(model, SAMPLES, chosen.seed)
        else:
            images = test.images
            latents = encoded(model, images)
        shown = legible_class(images, classifier)
        kinds = {
            name: sorted_by(name, latents, images, shown, classifier.classes) for name in ATTRIBUTES
        }
        figures: Figures = {}
        for attribute, kind in kinds.items():
            found = measure(model, classifier, attribute, kind, chosen.seed)
            prefix = "" if test is None else "encoded_"
            figures |= {f"{prefix}{figure}": value for figure, value in found.items()}
        if chosen.out is not None:
            draw(chosen.out, model, kinds, chosen.seed)
        name = model.manifest.name
    print(table((f"{name}, {TRIALS} trials a pair", "share"), list(figures.items())))
    record.write(chosen.record, chosen.subject, figures)
