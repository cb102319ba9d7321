"""How many of Stacked MNIST's thousand modes a generator draws, and how evenly.

The frozen MNIST classifier reads the digit of each colour; the three digits are the mode. Real
pictures, as many, stand beside the samples: what the classifier and chance leave of 1000 modes and
of a KL of 0.
"""

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.judge import Classifier, load_classifier, subject
from benchmarks.quality.served import Images, parser, sample, served
from benchmarks.quality.verdicts import SURE
from benchmarks.report import table, write_json
from benchmarks.results import record
from train import metrics
from train.data.mnist import load_mnist
from train.data.stacked import stack

logger = logging.getLogger(__name__)

MODES = 1000
CHUNK = 2000
"""Pictures whose channels are classified at a time."""

ROWS = {
    "modes": "modes drawn, of 1000",
    "kl": "KL(drawn || uniform) (nats)",
    "sure": "classifier at least 0.9 sure of all three digits (share)",
}


def modes_of(images: Images, classifier: Classifier) -> tuple[NDArray[np.int64], float]:
    """The mode of each picture [n, 28, 28, 3], and the share with three digits beyond doubt."""
    modes, sure = [], []
    for start in range(0, len(images), CHUNK):
        channels = images[start : start + CHUNK].transpose(0, 3, 1, 2)
        probabilities, _ = classifier(channels.reshape(-1, *channels.shape[2:], 1))
        digits = probabilities.argmax(axis=1).reshape(-1, 3)
        modes.append(digits @ np.array([100, 10, 1]))
        sure.append((probabilities.max(axis=1) >= SURE).reshape(-1, 3).all(axis=1))
    return np.concatenate(modes), float(np.concatenate(sure).mean())


def measure(images: Images, classifier: Classifier) -> dict[str, float]:
    """The figures of ROWS."""
    modes, sure = modes_of(images, classifier)
    covered, kl = metrics.mode_coverage(modes, MODES)
    return {"modes": covered, "kl": kl, "sure": sure}


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks modes ARTIFACT_OR_RUN --data PATH`"""
    options = parser("modes", __doc__, data="the MNIST files", n=26_000)
    chosen = options.parse_args(arguments)
    classifier = load_classifier("mnist")
    digits = load_mnist(chosen.data)
    with served(chosen.subject) as model:
        if model.manifest.image().shape != (28, 28, 3):
            options.error(
                f"expected a model of Stacked MNIST, 28 x 28 x 3, found "
                f"{model.manifest.name}: {model.manifest.image().shape}"
            )
        # Of a run that chooses settings, the floor too is that of validation images.
        recipe = model.manifest.provenance.details.get("params", {})
        test = digits.validated(recipe.get("validation", 0)).test
        if test is None:
            options.error(f"--data: expected MNIST's test files in {chosen.data}")
        logger.info("sampling %d images of %s", chosen.n, model.manifest.name)
        figures = measure(sample(model, chosen.n, chosen.seed), classifier)
        measured = subject(model, [classifier], test=test.checksum)
    real = measure(stack(test, chosen.n, chosen.seed).images, classifier)
    rows = [(words, figures[name], real[name]) for name, words in ROWS.items()]
    print(table((f"{measured['artifact']}, n = {chosen.n}", "samples", "real images"), rows))
    figures = {"n": chosen.n, "seed": chosen.seed} | figures
    figures |= {f"{name}_real": value for name, value in real.items()}
    write_json(chosen.json, "modes", figures, measured)
    record.write(chosen.record, chosen.subject, figures)
