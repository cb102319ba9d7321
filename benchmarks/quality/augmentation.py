"""Few labels, and samples beside them: what a conditional model adds to a classifier's accuracy.

The classifier trains on so many labelled images of each class, in four ways: on these alone, with
classic augmentation (turned, scaled, shifted), with samples in half of each batch, and with both.
All ways take the same steps from the same weights; the accuracy is that on the real test images,
as mean and standard deviation over seeds. Each seed has its own labelled images.

A generator knows the labels that it was trained on. One of all 60,000 labels gives away what the
classifier may not know: its figure is a bound, not a gain from few labels. One that was trained on
few (`mnist-10-a-class`, of the recipe `mnist_cgan_10`) is measured with those images alone, which
all seeds then share.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import mean, stdev

import numpy as np
import torch
import torch.nn.functional as F

import runtime
from benchmarks.quality.classifier import RECIPES, load_data
from benchmarks.quality.network import ClassifierRecipe, Network, augment
from benchmarks.quality.served import parser, served
from benchmarks.quality.transfer import accuracy, labelled
from benchmarks.quality.verdicts import Figures
from benchmarks.report import table, write_json
from benchmarks.results import record
from train.data import Dataset
from train.data.few import COUNTS, few, few_name

logger = logging.getLogger(__name__)

SEEDS = 5
SAMPLES = 10_000
"""Drawn once, as many of each label."""
BATCH = 64
WIDTHS = (8, 16, 32)
"""Of the judge's network, half as wide: 60 of them are trained."""
PEAK_RATE = 5e-3

WAYS = {
    "none": "labelled images alone",
    "classic": "classic augmentation",
    "generated": "samples",
    "both": "classic augmentation and samples",
}
"""Way of training -> its words."""


def batches(
    labelled: Dataset, samples: Dataset | None, steps: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Images float [B, C, H, W] in [-1, 1] and labels; of `samples`, half of each batch. Drawn by
    torch's generator."""
    parts = [(data, BATCH // (1 + (samples is not None))) for data in (labelled, samples) if data]
    for _ in range(steps):
        images, labels = [], []
        for data, count in parts:
            rows = torch.randint(len(data.images), (count,)).numpy()
            images.append(data.images[rows])
            labels.append(data.labels[rows])
        pixels = torch.from_numpy(np.concatenate(images)).permute(0, 3, 1, 2).float()
        yield pixels * (2 / 255) - 1, torch.from_numpy(np.concatenate(labels))


def trained(
    recipe: ClassifierRecipe,
    known: Dataset,
    samples: Dataset | None,
    *,
    classic: bool,
    steps: int,
    seed: int,
) -> Network:
    """A classifier of `known` images, and of samples where there are any; from one seed the same
    weights at the start."""
    changes = recipe if classic else replace(recipe, flip=False, shift=0, turn=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(recipe.channels, recipe.widths, len(known.classes), recipe.stride)
        optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=steps)
        for images, labels in batches(known, samples, steps):
            loss = F.cross_entropy(network(augment(images, changes))[0], labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def measure(
    train: Dataset, test: Dataset, samples: Dataset, count: int, *, steps: int, shared: bool
) -> Figures:
    """`accuracy_WAY_COUNT` and its standard deviation over seeds, for `count` images a class; and
    `gain_COUNT`, what samples add beside classic augmentation. `shared`: all seeds have the
    images of seed 0."""
    recipe = replace(RECIPES["mnist"], widths=WIDTHS)
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for seed in range(SEEDS):
        known = few(train, count, 0 if shared else seed)
        for way in WAYS:
            network = trained(
                recipe,
                known,
                samples if way in ("generated", "both") else None,
                classic=way in ("classic", "both"),
                steps=steps,
                seed=seed,
            )
            found[way].append(accuracy(network, test.images, test.labels))
        logger.info("%d a class, seed %d: %s", count, seed, _last(found))
    gains = [both - classic for both, classic in zip(found["both"], found["classic"], strict=True)]
    figures: Figures = {}
    for name, values in {**{f"accuracy_{way}": found[way] for way in WAYS}, "gain": gains}.items():
        figures[f"{name}_{count}"] = mean(values)
        figures[f"{name}_{count}_deviation"] = stdev(values)
    return figures


def _last(found: dict[str, list[float]]) -> str:
    return ", ".join(f"{way} {values[-1]:.3f}" for way, values in found.items())


def own_count(model: runtime.Model) -> int | None:
    """How many images of a class the model was trained on; None where it knows all."""
    data = model.manifest.provenance.details.get("data")
    return next((count for count in COUNTS if data == few_name("mnist", count)), None)


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks augmentation ARTIFACT_OR_RUN --data PATH`"""
    options = parser("augmentation", __doc__, data="the MNIST files")
    options.add_argument("--steps", type=int, default=300, help="of a classifier (%(default)s)")
    chosen = options.parse_args(arguments)
    torch.set_num_threads(1)
    train, test = load_data("mnist", chosen.data)
    with served(chosen.subject) as model:
        if model.manifest.labels != train.classes:
            options.error(
                f"expected a conditional model of MNIST, found {model.manifest.full_name} with "
                f"labels {model.manifest.labels}"
            )
        count, name = own_count(model), model.manifest.full_name
        samples = labelled(model, SAMPLES, chosen.seed)
    figures: Figures = {}
    rows: list[tuple[object, ...]] = []
    for each in COUNTS if count is None else (count,):
        shared = count is not None
        figures |= measure(train, test, samples, each, steps=chosen.steps, shared=shared)
        for way, words in WAYS.items():
            key = f"accuracy_{way}_{each}"
            rows.append((f"{words}, {each} a class", figures[key], figures[f"{key}_deviation"]))
    knows = "all labels" if count is None else f"the same {count} labels a class"
    header = f"{name}, whose training knew {knows}; {SEEDS} seeds"
    print(table((header, "accuracy", "deviation"), rows))
    write_json(chosen.json, "augmentation", figures, {"artifact": name, "steps": chosen.steps})
    record.write(chosen.record, chosen.subject, figures)
