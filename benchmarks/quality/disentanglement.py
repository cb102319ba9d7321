"""Which latent dimension of a VAE follows which factor, where the factors are known."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special

from benchmarks.errors import UnfitError
from benchmarks.plot import pyplot
from benchmarks.report import table
from benchmarks.results import record
from train import metrics
from train.data.shapes import FACTORS, draw, factor_table
from train.runs import TrainedRun, load_run

COLUMNS = 10
"""Pictures along each latent dimension."""


@torch.no_grad()
def encoded(run: TrainedRun, images: NDArray[np.uint8]) -> tuple[NDArray, NDArray]:
    """Posterior means [N, Z] of uint8 images [N, H, W, C], and each dimension's mean KL to the
    prior in nats [Z]."""
    if run.image.shape != images.shape[1:]:
        raise UnfitError(
            f"{run.name}: expected a run of images {images.shape[1:]} (H, W, C), found "
            f"{run.image.shape}"
        )
    if run.encoder is None or run.encoder_takes_noise:
        raise UnfitError(f"{run.name}: expected an encoder that gives means and variances")
    moments = []
    for part in np.array_split(images, max(1, len(images) // 1000)):
        low, high = run.image.value_range
        floats = torch.from_numpy(part).permute(0, 3, 1, 2) * ((high - low) / 255) + low
        moments.append(torch.stack(run.encoder(floats)).double())
    mean, log_variance = torch.cat(moments, dim=1)
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean(dim=0)
    return mean.numpy(), divergence.numpy()


@torch.no_grad()
def traversals(run: TrainedRun, centre: NDArray) -> NDArray[np.float32]:
    """Around one latent [Z], each dimension alone moved through the quantiles of N(0, 1): images in
    the run's value range, [Z, COLUMNS, H, W]."""
    quantiles = special.ndtri((np.arange(COLUMNS) + 0.5) / COLUMNS)
    latents = np.tile(centre, (len(centre), COLUMNS, 1))
    for dimension in range(len(centre)):
        latents[dimension, :, dimension] = quantiles
    images = run.decoder(torch.from_numpy(latents.reshape(-1, len(centre))).float())
    return images[:, 0].reshape(len(centre), COLUMNS, *images.shape[2:]).numpy()


def _picture(path: Path, images: NDArray, information: NDArray, divergence: NDArray) -> None:
    """Traversals, most informative dimension first, beside its information about each factor."""
    plt = pyplot()
    order = np.argsort(-divergence)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9.5, 4.4), width_ratios=(COLUMNS, len(FACTORS) + 1), layout="constrained"
    )
    _, _, height, width = images.shape
    left.imshow(np.vstack([np.hstack(list(row)) for row in images[order]]), cmap="gray")
    ticks = [(line + 0.5) * height for line in range(len(order))]
    left.set_yticks(ticks, [f"z{z}, {divergence[z]:.1f} nats" for z in order], fontsize=8)
    left.set_xticks([0.5 * width, (COLUMNS - 0.5) * width], ["5%", "95%"], fontsize=8)
    left.set_title("each dimension alone, quantiles of N(0, 1)", fontsize=10)
    shown: Any = right.imshow(information[order], cmap="viridis", aspect="auto", vmin=0)
    right.set_xticks(range(len(FACTORS)), list(FACTORS), fontsize=8)
    right.set_yticks(range(len(order)), [f"z{z}" for z in order], fontsize=8)
    right.set_title("mutual information (nats)", fontsize=10)
    figure.colorbar(shown, ax=right)
    figure.savefig(path, format="png", dpi=110)
    plt.close(figure)


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks disentanglement RUN`"""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks disentanglement", description=__doc__
    )
    parser.add_argument("run", type=Path, help="a folder that `python -m train` wrote from shapes")
    parser.add_argument("--out", type=Path, help="draw the traversals there, PNG")
    parser.add_argument("--record", metavar="NAME", help="keep the figures for docs/results.md")
    options = parser.parse_args(arguments)
    run, factors = load_run(options.run), factor_table()
    means, divergence = encoded(run, draw(factors))
    information = metrics.latent_information(means, factors)
    figures = {
        "mutual_information_gap": metrics.mutual_information_gap(information, factors),
        **{
            f"information_{name}": float(best)
            for name, best in zip(FACTORS, information.max(axis=0), strict=True)
        },
    }
    print(table((f"{run.name}, all {len(factors)} images", "value"), list(figures.items())))
    if options.out is not None:
        # From the image in the middle of every factor's values.
        middle = np.array([[len(values) // 2 for values in FACTORS.values()]])
        centre = encoded(run, draw(middle))[0][0]
        _picture(options.out, traversals(run, centre), information, divergence)
    record.write(options.record, options.run, figures)
