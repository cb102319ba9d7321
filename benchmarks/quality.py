"""How good an artifact's samples are, measured on what is served: images sampled through `runtime`.

A frozen classifier (`benchmarks.judge`) says what each sample shows and gives the features in
which sets are compared; `train.metrics` has the estimators. Every figure that depends on the number
of images stands beside the same figure of real images, taken at the same number.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import runtime
from benchmarks.classifier import RECIPES, load_data
from benchmarks.judge import Classifier, load_classifier, load_second, subject
from benchmarks.report import table, write_json
from benchmarks.results import record
from benchmarks.served import served
from runtime.artifact.prior import standard_normal_log_density
from runtime.images import contact_sheet, to_picture
from train import metrics

if TYPE_CHECKING:
    from train.data import Dataset

logger = logging.getLogger(__name__)

Images = NDArray[np.uint8]
"""[n, H, W, C]"""
Figures = dict[str, float]

_SET_DISTANCES = ("frechet", "density", "coverage", "precision", "recall")

SURE = 0.9
"""The confidence from which a sample counts as recognised."""
PAIRWISE = 2000
"""Images whose pairwise distances are averaged."""
NEIGHBOURED = 1000
"""Images whose nearest training image is looked up."""
SHOWN = 16
"""Samples on the sheet of nearest neighbours."""

ROWS: dict[str, tuple[str, str | None]] = {
    "sure": ("classifier at least 0.9 sure (share)", "sure_real"),
    "class_share_least": ("rarest class (share)", "class_share_least_real"),
    "as_asked": ("recognised as the label asked for (share)", "as_asked_real"),
    "as_asked_least": ("the same, worst label", "as_asked_least_real"),
    "sure_second": ("second judge at least 0.9 sure (share)", "sure_second_real"),
    "as_asked_second": ("recognised as asked by the second judge", "as_asked_second_real"),
    "as_asked_least_second": ("the same, worst label", "as_asked_least_second_real"),
    "of_class": ("classified as the class trained on (share)", "of_class_real"),
    "frechet": ("Fréchet distance in classifier features", "frechet_real"),
    "density": ("density in classifier features", "density_real"),
    "coverage": ("coverage in classifier features", "coverage_real"),
    "precision": ("precision in classifier features", "precision_real"),
    "recall": ("recall in classifier features", "recall_real"),
    "diversity_pixels": ("mean pairwise distance (RMS, grey levels)", "diversity_pixels_real"),
    "diversity_features": ("mean pairwise distance (features)", "diversity_features_real"),
    "nearest_pixels": ("nearest training image, median (RMS, grey levels)", "nearest_pixels_real"),
    "nearest_pixels_ratio": ("the same, samples over real images", None),
    "nearest_features": ("nearest training image, median (features)", "nearest_features_real"),
    "nearest_features_ratio": ("the same, samples over real images", None),
    "seen_to_unseen": ("nearest training over nearest test image (pixels)", "seen_to_unseen_real"),
    "reconstruction": ("reconstruction of test images (RMS, grey levels)", None),
    "kl": ("KL(posterior || prior) on test images (nats)", None),
    "test_loss_served": ("test loss with 8-bit means (nats an image)", None),
}
"""Figure -> its words and the key of the same figure for real images."""


def recognised(probabilities: NDArray[np.float32]) -> Figures:
    """How sure the classifier is of samples, probabilities [n, K], and which classes they show."""
    shares = metrics.class_shares(probabilities.argmax(axis=1), probabilities.shape[1])
    return {
        "sure": float((probabilities.max(axis=1) >= SURE).mean()),
        "class_share_least": float(shares.min()),
    }


def by_label(model: runtime.Model, n: int, seed: int) -> dict[str, Images]:
    """n samples of each label, no truncation."""
    names = model.manifest.labels
    if names is None:
        raise ValueError(f"{model.manifest.name}: expected a model that takes labels")
    # Other latents for each class, or all classes would share the same n draws.
    return {
        name: sample(model, n, seed, offset=index * n, label=name)
        for index, name in enumerate(names)
    }


def as_asked(samples: dict[str, Images], classifier: Classifier) -> Figures:
    """The share of samples `by_label` that are recognised as the label asked for."""
    if not set(samples) <= set(classifier.classes):
        raise ValueError(
            f"labels: expected classes of {classifier.name} ({', '.join(classifier.classes)}), "
            f"found {', '.join(samples)}"
        )
    shares = {
        name: float((classifier(images)[0].argmax(axis=1) == classifier.classes.index(name)).mean())
        for name, images in samples.items()
    }
    return {
        "as_asked": float(np.mean(list(shares.values()))),
        "as_asked_least": min(shares.values()),
        **{f"as_asked_{name}": share for name, share in shares.items()},
    }


def by_second(
    judge: Classifier, samples: Images, labelled: dict[str, Images] | None, test: "Dataset"
) -> Figures:
    """What the second judge makes of samples and of the real test images: how sure it is and, of
    those `by_label`, the share recognised as asked. It shares no weights with the features."""
    shown, shown_real = judge(samples)[0], judge(test.images)[0]
    figures, real = recognised(shown), recognised(shown_real)
    kept = ["sure"]
    if labelled is not None:
        kept += ["as_asked", "as_asked_least"]
        figures |= as_asked(labelled, judge)
        real |= _accuracy(shown_real, test.labels)
    return {f"{name}_second": figures[name] for name in kept} | {
        f"{name}_second_real": real[name] for name in kept
    }


def sample(
    model: runtime.Model,
    n: int,
    seed: int,
    *,
    offset: int = 0,
    label: str | None = None,
    truncation: float | None = None,
) -> Images:
    """n images of `seed`, streamed."""
    batches = model.stream(n, seed=seed, offset=offset, labels=label, truncation=truncation)
    return np.concatenate(list(batches))


def set_distances(
    samples: NDArray[np.float32], train: NDArray[np.float32], test: NDArray[np.float32]
) -> Figures:
    """Fréchet distance, density and coverage, precision and recall of features [n, D] against real
    ones, beside those of real test images. All sets have the size of the smallest; where samples
    and training images allow several disjoint sets of that size, the figures are means over them.
    """
    size = min(len(samples), len(train), len(test))
    folds = min(len(samples), len(train)) // size
    estimates: dict[str, list[float]] = {}
    for fold in range(folds):
        part = slice(fold * size, (fold + 1) * size)
        for suffix, features in (("", samples[part]), ("_real", test[:size])):
            known = train[part]
            estimated = (
                metrics.frechet_distance(features, known),
                *metrics.density_coverage(features, known),
                *metrics.precision_recall(features, known),
            )
            for name, value in zip(_SET_DISTANCES, estimated, strict=True):
                estimates.setdefault(name + suffix, []).append(value)
    return {"set_size": size} | {name: float(np.mean(found)) for name, found in estimates.items()}


def diversity(images: Images, features: NDArray[np.float32]) -> Figures:
    """Mean pairwise distance: root-mean-square grey levels a pixel, and in classifier features."""
    pixels = images.reshape(len(images), -1)
    return {
        "diversity_pixels": metrics.mean_pairwise_distance(pixels) / pixels.shape[1] ** 0.5,
        "diversity_features": metrics.mean_pairwise_distance(features),
    }


def nearest(images: Images, train: Images) -> tuple[NDArray[np.int64], float]:
    """The nearest training image in pixels: indices [n], median RMS distance in grey levels."""
    pixels = images.reshape(len(images), -1)
    indices, distances = metrics.nearest_neighbours(pixels, train.reshape(len(train), -1))
    return indices, float(np.median(distances)) / pixels.shape[1] ** 0.5


def seen_to_unseen(images: Images, train: Images, test: Images, *, mirrored: bool) -> float:
    """Mean distance in pixels of the nearest training image over that of the nearest test image,
    among as many of each, from the first half of the training images (so that the other half can
    be asked for the same). 1 where a model does not know which of them it was trained on; lower by
    the share of copies that are found among so many, `mirrored` ones too. Unlike a distance alone
    it does not fall for samples that are merely smooth."""
    size = min(len(train) // 2, len(test))
    known = [
        np.concatenate([part, part[:, :, ::-1]]) if mirrored else part
        for part in (train[:size], test[:size])
    ]
    pixels, *known = (part.reshape(len(part), -1) for part in (images, *known))
    seen, unseen = (metrics.nearest_neighbours(pixels, points)[1].mean() for points in known)
    return float(seen / unseen)


def reconstruction(model: runtime.Model, images: Images, seed: int) -> Figures:
    """The negative ELBO of test images by the exported graphs, one posterior draw an image.

    Served images are 8-bit, so the Bernoulli means are whole grey levels, kept a quarter of a
    level away from 0 and 1, where a rounded mean would cost an infinite amount. This is the loss
    of the served model; the recipe's own figure, from unrounded means, stands in its provenance.
    Of a mixture or a flow the KL divergence has no closed form: it is that of the one draw.
    """
    posterior = None if model.manifest.encoder_takes_noise else model.encode(images)
    draw = model.encode(images, seed=seed) if posterior is None else posterior.draw(seed)
    decoded = model.decode(draw.latents)
    if posterior is not None and model.prior is None:
        variance = np.exp(posterior.log_variance, dtype=np.float64)
        kl = 0.5 * (posterior.mean**2 + variance - 1 - posterior.log_variance)
    else:
        prior = model.prior.log_density if model.prior else standard_normal_log_density
        kl = draw.log_density - prior(draw.latents)
    means = np.clip(decoded / 255.0, 0.25 / 255, 1 - 0.25 / 255)
    targets = images / 255.0
    nats = -(targets * np.log(means) + (1 - targets) * np.log1p(-means))
    n = len(images)
    squares = (decoded.astype(np.float64) - images) ** 2
    return {
        "reconstruction": float(np.sqrt(squares.mean())),
        "kl": float(kl.sum() / n),
        "test_loss_served": float((nats.sum() + kl.sum()) / n),
    }


def measure(
    model: runtime.Model,
    classifier: Classifier,
    train: "Dataset",
    test: "Dataset",
    *,
    n: int = 10_000,
    seed: int = 0,
    only: str | None = None,
    second: Classifier | None = None,
) -> tuple[Figures, Images]:
    """All figures that suit the model, and a sheet [H, W, C] of some samples (first row) over their
    nearest training images in pixels (second) and in classifier features (third).

    `only` keeps the real images of one class, for a model trained on that class alone; `second`
    is the judge of accuracy alone.
    """
    train_images, test_images = real_images(train, only), real_images(test, only)
    logger.info("sampling %d images of %s", n, model.manifest.name)
    samples = sample(model, n, seed)
    logger.info("classifying them and the real images")
    probabilities, features = classifier(samples)
    _, train_features = classifier(train_images)
    test_probabilities, test_features = classifier(test_images)
    figures: Figures = {"n": n, "seed": seed}
    if only is None:
        figures |= recognised(probabilities) | _real(recognised(test_probabilities))
    else:
        index = classifier.classes.index(only)
        figures["of_class"] = float((probabilities.argmax(axis=1) == index).mean())
        figures["of_class_real"] = float((test_probabilities.argmax(axis=1) == index).mean())
    labelled = None
    if model.manifest.labels is not None:
        logger.info("sampling by label")
        labelled = by_label(model, max(1, n // len(model.manifest.labels)), seed)
        figures |= as_asked(labelled, classifier)
        shown, _ = classifier(test.images)
        figures |= _real(_accuracy(shown, test.labels))
    if second is not None and only is None:
        figures |= by_second(second, samples, labelled, test)
    logger.info("comparing with the real images")
    figures |= set_distances(features, train_features[:n], test_features)
    pairs = min(PAIRWISE, n, len(train_images))
    figures |= diversity(samples[:pairs], features[:pairs])
    figures |= _real(diversity(train_images[:pairs], train_features[:pairs]))
    # Where training mirrors images, a memorised one may come out mirrored.
    known = train_images
    if RECIPES[classifier.name].flip:
        known = np.concatenate([train_images, train_images[:, :, ::-1]])
    neighbours, figures["nearest_pixels"] = nearest(samples[:NEIGHBOURED], known)
    _, figures["nearest_pixels_real"] = nearest(test_images[:NEIGHBOURED], known)
    others = train_images[len(train_images) // 2 :][:NEIGHBOURED]
    for suffix, asked in (("", samples[:NEIGHBOURED]), ("_real", others)):
        figures[f"seen_to_unseen{suffix}"] = seen_to_unseen(
            asked, train_images, test_images, mirrored=RECIPES[classifier.name].flip
        )
    similar, distances = metrics.nearest_neighbours(features[:NEIGHBOURED], train_features)
    _, real_distances = metrics.nearest_neighbours(test_features[:NEIGHBOURED], train_features)
    figures["nearest_features"] = float(np.median(distances))
    figures["nearest_features_real"] = float(np.median(real_distances))
    for name in ("nearest_pixels", "nearest_features"):
        figures[f"{name}_ratio"] = figures[name] / figures[f"{name}_real"]
    if model.manifest.encode and classifier.name == "mnist":
        figures |= reconstruction(model, test.images, seed)
    rows = [samples[:SHOWN], known[neighbours[:SHOWN]], train_images[similar[:SHOWN]]]
    return figures, contact_sheet(np.concatenate(rows), columns=min(SHOWN, n))


def _real(figures: Figures) -> Figures:
    return {f"{name}_real": value for name, value in figures.items()}


def _accuracy(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> Figures:
    right = probabilities.argmax(axis=1) == labels
    by_class = [right[labels == label].mean() for label in np.unique(labels)]
    return {"as_asked": float(right.mean()), "as_asked_least": float(min(by_class))}


def real_images(data: "Dataset", only: str | None = None) -> Images:
    """All images, or those of one class, `shuffled`."""
    return shuffled(
        data.images if only is None else data.images[data.labels == data.classes.index(only)]
    )


def shuffled(images: Images) -> Images:
    """In a fixed order of which any part is a fair sample: data sets are often sorted by class."""
    return images[np.random.default_rng(0).permutation(len(images))]


def data_set_of(model: runtime.Model) -> str:
    """The data set whose classifier fits the model's images; the log warns where the model was
    trained on another one."""
    shape = model.manifest.image.shape
    for name, recipe in RECIPES.items():
        if (recipe.height, recipe.width, recipe.channels) == shape:
            data = str(model.manifest.provenance.details.get("data", name))
            if not data.startswith(name):
                logger.warning(
                    "%s was trained on %s and is judged as if on %s, whose pictures have its shape",
                    model.manifest.name, data, name,
                )  # fmt: skip
            return name
    known = {name: (r.height, r.width, r.channels) for name, r in RECIPES.items()}
    raise ValueError(
        f"{model.manifest.name}: expected images of a known data set ({known}), found {shape}"
    )


def trained_on(model: runtime.Model, classes: Sequence[str]) -> str | None:
    """The one class the model's data set is named for: "frog" in "cifar10-frogs"; None where it
    takes labels, or knows them all."""
    manifest = model.manifest
    if manifest.labels is not None:
        return None
    data = str(manifest.provenance.details.get("data", manifest.name))
    words = {word.removesuffix("s") for word in data.split("-")}
    return next((c for c in classes if c in words), None)


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks quality ARTIFACT_OR_RUN --data PATH`"""
    parser = argparse.ArgumentParser(prog="python -m benchmarks quality", description=__doc__)
    parser.add_argument("subject", help="an artifact's folder, a name under artifacts/, or a run")
    parser.add_argument("--data", type=Path, required=True, help="folder of the real data set")
    parser.add_argument("--n", type=int, default=10_000, help="images to sample (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only",
        help="compare with real images of this class (default: the one trained on, if one)",
    )
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--record", metavar="NAME", help="keep the figures for docs/results.md")
    parser.add_argument("--out", type=Path, help="write the sheet of nearest training images, PNG")
    options = parser.parse_args(arguments)
    with served(options.subject) as model:
        name = data_set_of(model)
        classifier, second = load_classifier(name, options.data), load_second(name)
        train, test = load_data(name, options.data)
        only = options.only or trained_on(model, classifier.classes)
        if only not in (None, *classifier.classes):
            parser.error(f"--only: expected one of {', '.join(classifier.classes)}, found {only}")
        figures, sheet = measure(
            model,
            classifier,
            train,
            test,
            n=options.n,
            seed=options.seed,
            only=only,
            second=second,
        )
        judges = [classifier] if second is None else [classifier, second]
        checksums = {"train": train.checksum, "test": test.checksum}
        measured = subject(model, judges, **checksums, only=only)
    print(_printed(measured["artifact"], only, figures))
    if options.out is not None:
        to_picture(sheet.repeat(3, axis=0).repeat(3, axis=1)).save(options.out)
    write_json(options.json, "quality", figures, measured)
    if options.record is not None:
        record.write(options.record, options.subject, figures)


def _printed(artifact: str, only: str | None, figures: Figures) -> str:
    rows = [
        (words, figures[name], figures.get(real) if real else None)
        for name, (words, real) in ROWS.items()
        if name in figures
    ]
    rows += [
        (f"recognised as asked: {name.removeprefix('as_asked_')}", value, None)
        for name, value in figures.items()
        if name.startswith("as_asked_") and name not in ROWS and not name.endswith("_real")
    ]
    return table((f"{artifact}, n = {figures['n']}", "samples", f"real {only or 'images'}"), rows)
