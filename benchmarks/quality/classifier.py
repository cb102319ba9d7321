"""Train the frozen classifier of a data set on its real images; it is committed as ONNX.

Nothing in `train` knows it: it is independent of every generator that `judge` shows it.

Shapes: B batch, H height, W width, C channels, D features.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.quality.judge import FOLDER, SECOND, Classifier
from benchmarks.report import environment, table, write_json
from export.modules import convert
from runtime.artifact.tensors import GraphSpec, TensorSpec
from runtime.images import ImageSpec
from train.data import Dataset, load
from train.data.images import load_images


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
    started = time.perf_counter()
    network = fit(recipe, train, seed, bf16=bf16)
    seconds = time.perf_counter() - started
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name or recipe.name}.onnx"
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
    return path


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
        "accuracy_where_sure": float(right[sure].mean()),
    }


class Network(nn.Module):
    """A 3x3 convolution, then stages that halve the sides and end in a residual convolution
    (He et al. 2016, arXiv:1512.03385); the features are means over all positions.

    Images float [B, C, H, W] in [-1, 1] -> logits [B, classes], features [B, D].
    """

    def __init__(self, channels: int, widths: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.stem = _layer(channels, widths[0])
        pairs = list(pairwise(widths))
        self.halve = nn.ModuleList(_layer(before, after, stride=2) for before, after in pairs)
        self.refine = nn.ModuleList(_layer(after, after) for _, after in pairs)
        self.classify = nn.Linear(widths[-1], classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.stem(images)
        for halve, refine in zip(self.halve, self.refine, strict=True):
            hidden = halve(hidden)
            hidden = hidden + refine(hidden)
        features = hidden.mean(dim=(2, 3))
        return self.classify(features), features


def _layer(channels: int, width: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())


class Frozen(nn.Module):
    """uint8 images [B, H, W, C], as artifacts give them -> probabilities [B, 10], features."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        (images,) = tensors
        logits, features = self.network(_to_float(images))
        return logits.softmax(dim=1), features


def fit(recipe: ClassifierRecipe, data: Dataset, seed: int, *, bf16: bool = True) -> Network:
    """Train on one core; the seed fixes the weights on one machine with one torch version.

    Cross-entropy without label smoothing, so that the probabilities stay near the frequencies.
    bf16 is twice as fast on processors that compute in it, and ten times slower on others.
    """
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(recipe.channels, recipe.widths, len(data.classes))
        network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.25
        )
        images, labels = torch.from_numpy(data.images.copy()), torch.from_numpy(data.labels)
        order = torch.empty(0, dtype=torch.int64)
        progress = tqdm(range(recipe.steps), desc=f"classifier {recipe.name}", mininterval=5)
        for step in progress:
            if len(order) < recipe.batch:
                order = torch.randperm(len(images))
            chosen, order = order[: recipe.batch], order[recipe.batch :]
            batch = augment(_to_float(images[chosen]), recipe)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits, _ = network(batch)
            loss = F.cross_entropy(logits.float(), labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if step % 50 == 0:
                progress.set_postfix(nats=f"{loss.item():.3f}", refresh=False)
    return network.eval()


def to_onnx(network: Network, recipe: ClassifierRecipe) -> bytes:
    """The frozen classifier as one ONNX file with a free batch, made as artifacts' graphs are."""
    shape = (recipe.height, recipe.width, recipe.channels)
    spec = GraphSpec(
        file=f"{recipe.name}.onnx",
        precision="fp32",
        inputs=(TensorSpec(name="images", role="images", dtype="uint8", shape=shape),),
        outputs=(
            TensorSpec(
                name="probabilities",
                role="mean",
                dtype="float32",
                shape=(network.classify.out_features,),
            ),
            TensorSpec(
                name="features",
                role="mean",
                dtype="float32",
                shape=(network.classify.in_features,),
            ),
        ),
    )
    return convert.to_onnx(Frozen(network).eval(), spec, {})


def _to_float(images: Tensor) -> Tensor:
    """uint8 [B, H, W, C] -> float [B, C, H, W] in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float() * (2 / 255) - 1


def augment(images: Tensor, recipe: ClassifierRecipe) -> Tensor:
    """Turn, scale, mirror and shift each image at random; its edge pixels continue outside."""
    count, _, height, width = images.shape
    angle = torch.deg2rad((2 * torch.rand(count) - 1) * recipe.turn)
    scale = 1 + (2 * torch.rand(count) - 1) * (recipe.turn / 100)
    mirror = torch.where(torch.rand(count) < 0.5 * recipe.flip, -1.0, 1.0)
    # Whole pixels: a shift alone blurs nothing. Coordinates run from -1 to 1 over a side.
    right, down = torch.randint(-recipe.shift, recipe.shift + 1, (2, count))
    row_x = torch.stack([scale * angle.cos() * mirror, -angle.sin(), right * (2 / width)], dim=1)
    row_y = torch.stack([angle.sin() * mirror, scale * angle.cos(), down * (2 / height)], dim=1)
    grid = F.affine_grid(
        torch.stack([row_x, row_y], dim=1), list(images.shape), align_corners=False
    )
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


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
