"""What a run of points in the plane looks like: data, samples, and what pulls at them.

After GAN Lab (Kahng et al. 2019, arXiv:1809.01587). All points are of the unit square, x to the
right and y upwards.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from train import gaussian
from train.data.plane import SPEC
from train.objectives.adversarial import GANObjective
from train.objectives.elbo import VAEObjective
from train.recipes import Recipe
from train.training import Training, evaluating

POINTS = 512
"""Of the data and of the samples."""
ARROWS = 96
FIELD = 48
"""Numbers along a side of the field."""
_STRIDE = 0.05
"""An arrow's length for a gradient of length 1 (an image's side is 1)."""
_LONGEST = 0.12
"""Longer arrows are cut."""
_FAINT = 0.05
"""A field that is nowhere further from one half has faint colours."""
_SIDE = 384
"""Pixels of a picture."""
_COLOURS = {
    "data": (70, 74, 84),
    "samples": (122, 31, 162),
    "arrows": (122, 31, 162),
    "low": (236, 200, 150),
    "middle": (250, 250, 248),
    "high": (150, 190, 236),
}


@dataclass(frozen=True)
class Frame:
    """One moment of a run."""

    step: int
    data: NDArray[np.float32]
    """[n, 2]"""
    samples: NDArray[np.float32]
    """[n, 2], of fixed latents."""
    field: NDArray[np.float32]
    """[FIELD, FIELD] in [0, 1], the lowest row first: of a GAN, the probability that the
    discriminator gives a point of being real; of a VAE how well it explains the point, over the
    best one: exp of minus the error at the posterior's mean and the KL divergence. The evidence
    lower bound has the expected error of all the posterior in the place of its mean's."""
    arrows: NDArray[np.float32]
    """[m, 4], x and y of where each starts and of how far it goes: of a GAN, where the loss's
    gradient pulls a sample; of a VAE, from a point of the data to its reconstruction."""


def is_plane(recipe: Recipe) -> bool:
    """Whether the recipe's images are points of the plane."""
    return recipe.image.shape == SPEC.shape


def frame(training: Training) -> Frame:
    """The moment that a run is at; the run is not disturbed."""
    objective = training.objective
    data = training.prepare(training.images[:POINTS].permute(0, 3, 1, 2))
    cells = (torch.arange(FIELD) + 0.5) / FIELD
    y, x = torch.meshgrid(cells, cells, indexing="ij")
    low, high = training.recipe.image.value_range
    grid = torch.stack([x, y], dim=-1).reshape(-1, 1, 1, 2) * (high - low) + low
    with evaluating(objective.networks), evaluating(training.model):
        samples = training.samples(POINTS)
        if isinstance(objective, GANObjective):
            field, starts, ways = _of_gan(objective, samples, data, grid.to(samples.device))
        elif isinstance(objective, VAEObjective):
            field, starts, ways = _of_vae(objective, data, grid.to(samples.device))
        else:
            field, starts, ways = torch.zeros(len(grid)), data[:0], data[:0]
    way = ways.flatten(1) / (high - low)
    length = torch.linalg.vector_norm(way, dim=1, keepdim=True).clamp(min=1e-9)
    way = way * (length.clamp(max=_LONGEST) / length)

    def places(points: Tensor) -> NDArray[np.float32]:
        return ((points.flatten(1) - low) / (high - low)).float().cpu().numpy()

    return Frame(
        training.step,
        places(data),
        places(samples),
        field.reshape(FIELD, FIELD).float().cpu().numpy(),
        np.concatenate([places(starts), way.float().cpu().numpy()], axis=1),
    )


def _of_gan(
    objective: GANObjective, samples: Tensor, data: Tensor, grid: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Field, where arrows start, and how far they go."""
    starts = samples[:ARROWS].detach().requires_grad_()
    scores = objective.discriminator(starts)
    if objective.loss.paired:
        loss = objective.loss.generator(objective.discriminator(data[:ARROWS]), scores)
    else:
        loss = objective.loss.generator(scores)
    (gradient,) = torch.autograd.grad(loss * len(starts), starts)  # the loss is their mean
    with torch.no_grad():
        return objective.discriminator(grid).sigmoid(), starts.detach(), -_STRIDE * gradient


@torch.no_grad()
def _of_vae(objective: VAEObjective, data: Tensor, grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    encoder, decoder = objective.model["encoder"], objective.model["decoder"]
    scale = objective.settings.gaussian_log_scale
    mean, log_variance = encoder(grid)
    error = gaussian.nll(decoder(mean), grid, scale)
    explained = -error - gaussian.kl(mean, log_variance)
    starts = data[:ARROWS]
    return (explained - explained.max()).exp(), starts, decoder(encoder(starts)[0]) - starts


def picture(frame: Frame) -> NDArray[np.uint8]:
    """A frame as an image [H, W, 3]: the field from orange (low) through white (one half) to blue,
    the stronger the colour the further from one half, data grey, samples violet with their
    arrows."""
    scale = 2  # drawn larger and shrunk, for smooth edges
    side = scale * _SIDE
    low, middle, high = (np.array(_COLOURS[name]) for name in ("low", "middle", "high"))
    value = _spread(frame.field)[::-1, :, None]  # pixels count downwards
    colours = np.where(
        value < 0.5, low + (middle - low) * 2 * value, middle + (high - middle) * (2 * value - 1)
    )
    image = Image.fromarray(np.rint(colours).astype(np.uint8))
    image = image.resize((side, side), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)

    def place(point: NDArray[np.float32]) -> tuple[float, float]:
        return float(point[0]) * side, (1 - float(point[1])) * side

    for name, points in (("data", frame.data), ("samples", frame.samples)):
        for point in points:
            draw.circle(place(point), 1.6 * scale, fill=_COLOURS[name])
    for arrow in frame.arrows:
        ends = place(arrow[:2]), place(arrow[:2] + arrow[2:])
        draw.line(ends, fill=_COLOURS["arrows"], width=scale)
    return np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BOX))


def _spread(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """The field with its furthest value from one half at 0 or 1; see `_FAINT`."""
    away = field - 0.5
    return 0.5 + 0.5 * away / max(float(np.abs(away).max()), _FAINT)
