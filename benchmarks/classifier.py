"""A small classifier per data set, trained on its real images, frozen and committed as ONNX.

It judges samples: `probabilities` say what a picture shows, `features` are the space of the
Fréchet distance. It is independent of every generator: nothing in `train` knows it. The ONNX
takes what artifacts give, so a judge needs only onnxruntime, no torch and no data set.

Like every classifier it knows only its classes: noise too can be an 8 with confidence 1. Shares of
confident verdicts speak of legible samples only together with coverage, and with a look at them.

Shapes: B batch, H height, W width, C channels, D features.
"""

import argparse
import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import environment, table, write_json

if TYPE_CHECKING:
    from train.data import Dataset

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent / "classifiers"
BATCH = 256


class Classifier:
    """A frozen classifier, run by onnxruntime on one thread."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        record = json.loads(path.with_suffix(".json").read_text())
        content = path.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != record["sha256"]:
            raise ValueError(
                f"{path}: expected SHA-256 {record['sha256']}, found {found}: "
                "restore it, or train it anew with `python -m benchmarks classifier`"
            )
        self.name: str = path.stem
        self.sha256: str = found
        self.record: dict[str, Any] = record
        self.classes: tuple[str, ...] = tuple(record["classes"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )

    def __call__(
        self, images: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """uint8 images [B, H, W, C] -> class probabilities [B, 10], features [B, D]."""
        batches = [
            self._session.run(
                ["probabilities", "features"], {"images": images[start : start + BATCH]}
            )
            for start in range(0, len(images), BATCH)
        ]
        probabilities, features = zip(*batches, strict=True)
        return np.concatenate(probabilities), np.concatenate(features)


@dataclass(frozen=True)
class ClassifierRecipe:
    """What is trained, on what and for how long."""

    name: str
    height: int
    width: int
    channels: int
    widths: tuple[int, ...]
    """Channels; the sides of the feature map halve from one to the next, the last one is D."""
    steps: int
    batch: int
    learning_rate: float
    flip: bool
    """Mirror half of the images; digits must not be."""
    shift: int
    """Largest shift in pixels, both ways."""
    turn: float
    """Largest rotation in degrees (and, in percent, largest change of size)."""


RECIPES = {
    recipe.name: recipe
    for recipe in (
        ClassifierRecipe(
            name="mnist", height=28, width=28, channels=1, widths=(16, 32, 64),
            steps=4500, batch=128, learning_rate=5e-3, flip=False, shift=2, turn=10.0,
        ),
        ClassifierRecipe(
            name="cifar10", height=32, width=32, channels=3, widths=(32, 64, 128, 160),
            steps=2800, batch=128, learning_rate=5e-3, flip=True, shift=3, turn=0.0,
        ),
    )
}  # fmt: skip


def load_classifier(name: str, data: Path | None = None) -> Classifier:
    """The committed classifier `name`; where it is absent, it is trained from `data` first."""
    path = FOLDER / f"{name}.onnx"
    if not path.is_file():
        if data is None:
            raise FileNotFoundError(
                f"{path}: expected a frozen classifier; train it with "
                f"`python -m benchmarks classifier {name} --data PATH`"
            )
        train_classifier(RECIPES[name], data, FOLDER)
    return Classifier(path)


def load_data(name: str, data: Path) -> tuple["Dataset", "Dataset"]:
    """The real images a classifier knows: (training set, test set)."""
    from runtime.images import ImageSpec
    from train.data import load
    from train.data.images import load_images

    recipe = RECIPES[name]
    spec = ImageSpec(
        height=recipe.height,
        width=recipe.width,
        channels=3 if recipe.channels == 3 else 1,
    )
    if name == "mnist":
        splits = load("mnist", data, spec)
        if splits.test is None:
            raise ValueError(f"{data}: expected a test set beside the training set")
        return splits.train, splits.test
    licence = "as given by the images' owner"
    train, test = (
        load_images(
            next((p for p in (data / f"{part}.zip", data / part) if p.exists()), data / part),
            spec,
            name=f"{name}-{part}",
            licence=licence,
        )
        for part in ("train", "test")
    )
    return train, test


def train_classifier(recipe: ClassifierRecipe, data: Path, out: Path, seed: int = 0) -> Path:
    """Train on real images, write `NAME.onnx` and, beside it, `NAME.json` saying what it is."""
    from benchmarks import _classifier_training as training

    train, test = load_data(recipe.name, data)
    started = time.perf_counter()
    network = training.fit(recipe, train, seed)
    seconds = time.perf_counter() - started
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{recipe.name}.onnx"
    content = training.to_onnx(network, recipe)
    path.write_bytes(content)
    record = {
        "name": recipe.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "classes": train.classes,
        "recipe": asdict(recipe),
        "seed": seed,
        "seconds": round(seconds, 1),
        "data": {"train": train.checksum, "test": test.checksum},
        "environment": environment(),
    }
    write = path.with_suffix(".json").write_text
    write(json.dumps(record, indent=2) + "\n")
    # Measured on the very file that is shipped.
    record["test"] = score(Classifier(path), test.images, test.labels)
    write(json.dumps(record, indent=2) + "\n")
    return path


def score(
    classifier: Classifier, images: NDArray[np.uint8], labels: NDArray[np.int64]
) -> dict[str, float]:
    """Accuracy on real images, and what a confidence of at least 0.9 means on them."""
    probabilities, _ = classifier(images)
    right = probabilities.argmax(axis=1) == labels
    sure = probabilities.max(axis=1) >= 0.9
    of_truth = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return {
        "images": len(labels),
        "accuracy": float(right.mean()),
        "nats": float(-np.log(np.maximum(of_truth, 1e-12)).mean()),
        "sure": float(sure.mean()),
        "accuracy_where_sure": float(right[sure].mean()),
    }


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks classifier NAME --data PATH`"""
    parser = argparse.ArgumentParser(prog="python -m benchmarks classifier", description=__doc__)
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--data", type=Path, required=True, help="folder of the real data set")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where NAME.onnx goes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args(arguments)
    path = train_classifier(RECIPES[options.name], options.data, options.out, options.seed)
    record = json.loads(path.with_suffix(".json").read_text())
    print(table(("on the real test set", options.name), list(record["test"].items())))
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, {record['seconds']:.0f} s of training")
    write_json(options.json, "classifier", record)
