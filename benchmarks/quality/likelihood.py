"""How likely held-out images are under a run: a VAE's importance-weighted bound, or exactly.

Of the run and not of an artifact: served images are 8-bit, and a likelihood needs the decoder's
logits and the posterior's own draws. Of an autoregressive model it is no bound but the likelihood
itself.
"""

import argparse
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.errors import UnfitError
from benchmarks.report import table, write_json
from benchmarks.results import record
from train import metrics
from train.data import load
from train.objectives.autoregressive import AutoregressiveObjective
from train.objectives.elbo import VAEObjective
from train.runs import TrainedRun, load_run
from train.schedule import seed_of

logger = logging.getLogger(__name__)

CHUNK = 1000
"""Posterior draws decoded at a time: their activations stay in the processor's cache."""
REPORT_EVERY = 500


BATCH = 100
"""Images whose exact likelihood is computed at a time."""


@torch.no_grad()
def exact(
    run: TrainedRun, objective: AutoregressiveObjective, images: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """The log-likelihood of uint8 images [N, H, W, C], of 0 and 255, in nats, [N]."""
    floats = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    nll = [objective.nll(run.model, part) for part in floats.split(BATCH)]
    return -torch.cat(nll).double().numpy()


def bounds_by(
    processes: int,
    folder: Path,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    k: int,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same as `bounds` of the run in `folder`, the images shared out among processes."""
    parts = np.array_split(np.arange(len(images)), processes)
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        futures = [
            pool.submit(_bounds_of_part, folder, images[part], labels[part], k, seed, int(part[0]))
            for part in parts
            if len(part)
        ]
        weighted, elbo = zip(*(future.result() for future in futures), strict=True)
    return np.concatenate(weighted), np.concatenate(elbo)


def _bounds_of_part(
    folder: Path,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    k: int,
    seed: int,
    first: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    return bounds(load_run(folder), images, labels, k, seed, first)


@torch.no_grad()
def bounds(
    run: TrainedRun,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    k: int,
    seed: int,
    first: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The importance-weighted bound with k draws and the ELBO (the mean over the same draws), both
    log-likelihoods in nats, [N], of uint8 images [N, H, W, C]; of a conditional model, given their
    labels [N].

    Image i's draws follow from (seed, first + i) alone.
    """
    objective = _fitting(run)
    assert isinstance(objective, VAEObjective)  # noqa: S101 - or it has an exact likelihood
    low, high = run.image.value_range
    weighted, elbo = np.empty(len(images)), np.empty(len(images))
    generator, started = torch.Generator(), time.monotonic()
    for index, (picture, label) in enumerate(zip(images, labels, strict=True)):
        image = torch.from_numpy(picture).permute(2, 0, 1)[None] * ((high - low) / 255) + low
        generator.manual_seed(seed_of(seed, 0, first + index))
        chunks = [
            objective.log_weights(
                run.model,
                image,
                torch.randn(min(CHUNK, k - start), objective.noise, generator=generator),
                torch.tensor([label]),
            )[None].numpy()
            for start in range(0, k, CHUNK)
        ]
        weighted[index] = metrics.importance_weighted_bound(chunks)[0]
        elbo[index] = np.concatenate(chunks, axis=1).mean(dtype=np.float64)
        if (done := index + 1) % REPORT_EVERY == 0:
            rate = (time.monotonic() - started) / done
            logger.info("%d images: %.3f nats, %.3f s each", done, -weighted[:done].mean(), rate)
    return weighted, elbo


def _fitting(run: TrainedRun) -> VAEObjective | AutoregressiveObjective:
    """The run's objective. UnfitError where it gives no likelihood."""
    objective = run.recipe.objective.build()
    if not isinstance(objective, VAEObjective | AutoregressiveObjective):
        raise UnfitError(
            f"{run.name}: expected a VAE or an autoregressive model, found a {run.kind}"
        )
    return objective


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks likelihood RUN --data PATH`"""
    parser = argparse.ArgumentParser(prog="python -m benchmarks likelihood", description=__doc__)
    parser.add_argument("run", type=Path, help="a folder that `python -m train` wrote")
    parser.add_argument("--data", type=Path, help="folder of the run's data set")
    parser.add_argument("--k", type=int, default=5000, help="draws an image (%(default)s)")
    parser.add_argument("--images", type=int, help="the first so many test images (default: all)")
    parser.add_argument("--processes", type=int, default=1, help="each on one core")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--record", metavar="NAME", help="keep the figures for docs/results.md")
    options = parser.parse_args(arguments)
    run = load_run(options.run)
    validation = run.recipe.validation
    objective = _fitting(run)
    spec, labelled = run.recipe.image, bool(run.recipe.classes)
    test = load(run.recipe.source, options.data, spec, labels=labelled, validation=validation).test
    if test is None:
        parser.error(
            f"{run.recipe.source}: expected a data set with held-out images, found none: train "
            "with --validation N, which holds N out"
        )
    images, labels = test.images[: options.images], test.labels[: options.images]
    if isinstance(objective, AutoregressiveObjective):
        figures = _with_error("exact", exact(run, objective, images))
    else:
        weighted, elbo = bounds_by(
            options.processes, options.run, images, labels, options.k, options.seed
        )
        figures = _with_error(f"iw_{options.k}", weighted)
        figures |= {"negative_elbo": -float(elbo.mean())}
    figures |= {"images": len(images)}
    print(table((f"{run.name} on {test.name}, nats an image", "value"), list(figures.items())))
    subject = {"run": run.name, "data": test.checksum, "k": options.k, "seed": options.seed}
    write_json(options.json, "likelihood", figures, subject)
    record.write(options.record, options.run, figures)


def _with_error(name: str, log_likelihoods: NDArray[np.float64]) -> dict[str, float]:
    """Their negative mean, and its standard error over the images."""
    error = log_likelihoods.std() / len(log_likelihoods) ** 0.5
    return {name: -float(log_likelihoods.mean()), f"{name}_standard_error": float(error)}
