"""Train the frozen classifier of a data set on its real images; it is committed as ONNX.

Nothing in `train` knows it: it is independent of every generator that `judge` shows it.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.errors import UnfitError
from benchmarks.quality.judge import FOLDER, SECOND, Classifier
from benchmarks.quality.network import ClassifierRecipe, fit, to_onnx
from benchmarks.report import environment, table, write_json
from runtime.errors import InputError
from runtime.images import ImageSpec
from runtime.images.trees import open_tree
from train.data import Dataset, load
from train.data.images import load_images
from train.data.mnist import CONTENT_MD5, missing_files

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


CIFAR10 = {
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
}


def data_set_in(folder: Path) -> str | None:
    """The data set of RECIPES that a folder holds; None for any other pictures."""
    if len(missing_files(folder)) < len(CONTENT_MD5):
        return "mnist"
    try:
        with open_tree(_part(folder, "train")) as train, open_tree(_part(folder, "test")) as test:
            named = [{p for file in tree.files for p in file.parts} for tree in (train, test)]
    except InputError:
        return None
    return "cifar10" if all(names >= CIFAR10 for names in named) else None


def _part(data: Path, part: str) -> Path:
    """The zip or the folder of a part of a data set."""
    return next((p for p in (data / f"{part}.zip", data / part) if p.exists()), data / part)


def load_data(name: str, data: Path) -> tuple[Dataset, Dataset]:
    """The real images a classifier knows: (training set, test set)."""
    recipe = RECIPES[name]
    spec = ImageSpec(
        height=recipe.height,
        width=recipe.width,
        channels=3 if recipe.channels == 3 else 1,
    )
    if name == "mnist":
        splits = load("mnist", data, spec)
        if splits.test is None:
            raise UnfitError(f"{data}: expected a test set beside the training set")
        return splits.train, splits.test
    licence = "as given by the images' owner"
    train, test = (
        load_images(
            _part(data, part),
            spec,
            name=f"{name}-{part}",
            licence=licence,
        )
        for part in ("train", "test")
    )
    return train, test


def train_classifier(
    recipe: ClassifierRecipe,
    data: Path,
    out: Path,
    seed: int = 0,
    *,
    name: str | None = None,
    bf16: bool = True,
) -> Path:
    """Train on real images, write `NAME.onnx` and, beside it, `NAME.json` saying what it is; the
    recipe's name unless another one is given."""
    train, test = load_data(recipe.name, data)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name or recipe.name}.onnx"
    train_on(recipe, train, test, path, seed, bf16=bf16)
    return path


def train_on(
    recipe: ClassifierRecipe,
    train: Dataset,
    test: Dataset,
    path: Path,
    seed: int = 0,
    *,
    bf16: bool = True,
) -> None:
    """Train on images, write the ONNX file `path`, and beside it what it is and what it knows of
    test images."""
    started = time.perf_counter()
    network = fit(recipe, train, seed, bf16=bf16)
    seconds = time.perf_counter() - started
    content = to_onnx(network, recipe)
    path.write_bytes(content)
    record = {
        "name": path.stem,
        "sha256": hashlib.sha256(content).hexdigest(),
        "classes": train.classes,
        "recipe": asdict(recipe),
        "seed": seed,
        "precision": "bf16" if bf16 else "fp32",
        "seconds": round(seconds, 1),
        "data": {"train": train.checksum, "test": test.checksum},
        "environment": environment(),
    }
    write = path.with_suffix(".json").write_text
    write(json.dumps(record, indent=2) + "\n")
    # Measured on the very file that is shipped.
    record["test"] = score(Classifier(path), test.images, test.labels)
    write(json.dumps(record, indent=2) + "\n")


def load_or_train(name: str, data: Path) -> Classifier:
    """The committed classifier `name`; where it is absent, it is trained from `data` first."""
    path = FOLDER / f"{name}.onnx"
    if not path.is_file():
        train_classifier(RECIPES[name], data, FOLDER)
    return Classifier(path)


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
        "accuracy_where_sure": float(right[sure].mean()) if sure.any() else 0.0,
    }


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks classifier NAME --data PATH`"""
    parser = argparse.ArgumentParser(prog="python -m benchmarks classifier", description=__doc__)
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--data", type=Path, required=True, help="folder of the real data set")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where NAME.onnx goes")
    parser.add_argument("--seed", type=int, help="0, or 1 for the second judge")
    parser.add_argument("--second", action="store_true", help="train the judge of accuracy alone")
    parser.add_argument("--fp32", action="store_true", help="where the processor has no bf16")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args(arguments)
    path = train_classifier(
        RECIPES[options.name],
        options.data,
        options.out,
        int(options.second) if options.seed is None else options.seed,
        name=options.name + SECOND * options.second,
        bf16=not options.fp32,
    )
    record = json.loads(path.with_suffix(".json").read_text())
    print(table(("on the real test set", options.name), list(record["test"].items())))
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, {record['seconds']:.0f} s of training")
    write_json(options.json, "classifier", record)
