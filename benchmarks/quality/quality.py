"""An artifact's samples: recognisable, diverse, as asked, and near the real images?

Measured on what is served: images sampled through `runtime`. A frozen classifier (`judge`) says
what each sample shows and gives the features in which sets are compared; `train.metrics` has the
estimators. Every figure that depends on the number of images stands beside the same figure of real
images, taken at the same number. Pictures other than those of MNIST and CIFAR-10 are judged by
`folder`.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

import runtime
from benchmarks.quality import folder
from benchmarks.quality.classifier import RECIPES, data_set_in, load_data, load_or_train
from benchmarks.quality.distances import (
    diversity,
    nearest,
    real_images,
    seen_to_unseen,
    set_distances,
)
from benchmarks.quality.folder import Judged
from benchmarks.quality.judge import Classifier, load_second, subject
from benchmarks.quality.served import (
    Images,
    by_label,
    data_set_of,
    parser,
    sample,
    served,
    trained_on,
)
from benchmarks.quality.verdicts import Figures, accuracy, as_asked, by_second, recognised
from benchmarks.report import table, write_json
from benchmarks.results import record
from runtime.artifact.prior import standard_normal_log_density
from runtime.images import contact_sheet, to_picture
from runtime.requests.encode import takes_noise
from train import metrics
from train.data import Dataset
from train.errors import DataError

logger = logging.getLogger(__name__)

T = TypeVar("T")

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


def reconstruction(model: runtime.Model, images: Images, seed: int) -> Figures:
    """The negative ELBO of test images by the exported graphs, one posterior draw an image.

    Served images are 8-bit, so the Bernoulli means are whole grey levels, kept a quarter of a
    level away from 0 and 1, where a rounded mean would cost an infinite amount. This is the loss
    of the served model; the recipe's own figure, from unrounded means, stands in its provenance.
    Of a mixture or a flow the KL divergence has no closed form: it is that of the one draw.
    """
    posterior = None if takes_noise(model.manifest) else model.encode(images)
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
    train: Dataset,
    test: Dataset,
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
        figures |= _real(accuracy(shown, test.labels))
    if second is not None and only is None:
        figures |= by_second(second, samples, labelled, test)
    logger.info("comparing with the real images")
    figures |= set_distances(features, train_features[:n], test_features)
    pairs = min(PAIRWISE, n, len(train_images))
    figures |= diversity(samples[:pairs], features[:pairs])
    figures |= _real(diversity(train_images[:pairs], train_features[:pairs]))
    near, rows = neighbours(
        Sets(samples, train_images, test_images),
        Sets(features, train_features, test_features),
        mirrored=RECIPES[classifier.name].flip,
    )
    figures |= near
    if "encode" in model.manifest.graphs and classifier.name == "mnist":
        figures |= reconstruction(model, test.images, seed)
    return figures, contact_sheet(rows, columns=min(SHOWN, n))


@dataclass(frozen=True)
class Sets(Generic[T]):
    """Samples and real images, as pictures or as features."""

    samples: T
    train: T
    test: T


def neighbours(
    images: Sets[Images], features: Sets[NDArray[np.float32]], *, mirrored: bool
) -> tuple[Figures, Images]:
    """Distances to the nearest training images; samples, their nearest in pixels and in features.

    Where training mirrors images, a memorised one may come out mirrored.
    """
    samples, train = images.samples[:NEIGHBOURED], images.train
    known = np.concatenate([train, train[:, :, ::-1]]) if mirrored else train
    figures: Figures = {}
    alike, figures["nearest_pixels"] = nearest(samples, known)
    _, figures["nearest_pixels_real"] = nearest(images.test[:NEIGHBOURED], known)
    others = train[len(train) // 2 :][:NEIGHBOURED]
    for suffix, part in (("", samples), ("_real", others)):
        figures[f"seen_to_unseen{suffix}"] = seen_to_unseen(
            part, train, images.test, mirrored=mirrored
        )
    similar, distances = metrics.nearest_neighbours(features.samples[:NEIGHBOURED], features.train)
    _, real = metrics.nearest_neighbours(features.test[:NEIGHBOURED], features.train)
    figures["nearest_features"] = float(np.median(distances))
    figures["nearest_features_real"] = float(np.median(real))
    for name in ("nearest_pixels", "nearest_features"):
        figures[f"{name}_ratio"] = figures[name] / figures[f"{name}_real"]
    rows = [samples[:SHOWN], known[alike[:SHOWN]], train[similar[:SHOWN]]]
    return figures, np.concatenate(rows)


def _real(figures: Figures) -> Figures:
    return {f"{name}_real": value for name, value in figures.items()}


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks quality ARTIFACT_OR_RUN --data PATH`"""
    options = parser("quality", __doc__, data="pictures, or of MNIST or CIFAR-10", n=10_000)
    options.add_argument(
        "--only",
        help="compare with real images of this class (default: the one trained on, if one)",
    )
    options.add_argument("--out", type=Path, help="write the sheet of nearest training images, PNG")
    options.add_argument(
        "--own-judge",
        action="store_true",
        help="train a judge on the pictures even where they are of MNIST or CIFAR-10",
    )
    chosen = options.parse_args(arguments)
    with served(chosen.subject) as model:
        image, name = model.manifest.image(), data_set_in(chosen.data)
        known = name is not None and RECIPES[name].shape == image.shape
        try:
            if known and not chosen.own_judge:
                judged = _judged_by_known(model, chosen.data, chosen.only, chosen.n, chosen.seed)
            else:
                judged = folder.judged(model, chosen.data, chosen.only, chosen.n, chosen.seed)
        except DataError as error:
            options.error(str(error))
    print(judged.text)
    if chosen.out is not None:
        larger = max(1, 96 // image.height)
        to_picture(judged.sheet.repeat(larger, axis=0).repeat(larger, axis=1)).save(chosen.out)
    write_json(chosen.json, "quality", judged.figures, judged.subject)
    record.write(chosen.record, chosen.subject, judged.figures)


def _judged_by_known(
    model: runtime.Model, data: Path, only: str | None, n: int, seed: int
) -> Judged:
    name = data_set_of(model)
    classifier, second = load_or_train(name, data), load_second(name)
    train, test = load_data(name, data)
    only = only or trained_on(model, classifier.classes)
    if only not in (None, *classifier.classes):
        expected = ", ".join(classifier.classes)
        raise DataError(f"--only: expected one of {expected}, found {only}")
    figures, sheet = measure(
        model, classifier, train, test, n=n, seed=seed, only=only, second=second
    )
    judges = [classifier] if second is None else [classifier, second]
    checksums = {"train": train.checksum, "test": test.checksum}
    measured = subject(model, judges, **checksums, only=only)
    return Judged(figures, sheet, measured, _printed(measured["artifact"], only, figures))


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
