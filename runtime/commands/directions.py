"""Draw what the principal directions of a latent space change."""

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.commands._arguments import add_output, add_scale, load_model, positive
from runtime.commands._output import conclude_output, first_command, save
from runtime.requests.decode import Decode
from runtime.requests.directions import Directions, size_of
from runtime.sampling.directions import MAX_DIRECTIONS

_FAR = 3.0
"""Standard deviations to both sides of the start."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_output(parser)
    add_scale(parser)
    counts = range(1, MAX_DIRECTIONS + 1)
    parser.add_argument("--count", type=int, choices=counts, metavar="COUNT", default=8)
    parser.add_argument("--steps", type=positive, default=9, help="images along each direction")
    parser.add_argument("--seed", type=int, help="start at this seed's image 0, not at the mean")


def run(args: argparse.Namespace) -> None:
    args.columns = args.steps
    with load_model(args) as model:
        found = model.directions(args.count, labels=args.labels)
        start = found.mean
        if args.seed is not None:  # of the size that the directions are of
            start = model.latents(1, seed=args.seed, size=size_of(model.manifest))[0]
        deviations = np.linspace(-_FAR, _FAR, args.steps, dtype=np.float32)
        moved = np.multiply.outer(deviations, found.scaled).swapaxes(0, 1)  # [k, steps, *latent]
        latents = (start + moved).reshape(-1, *start.shape)

        def arrays() -> dict[str, NDArray[Any]]:
            return {name: getattr(found, name) for name in ("directions", "deviations", "mean")}

        # Those which the directions are of: the first, where none was asked for.
        asked = Directions(args.labels)
        label, prompt = asked.label(model.manifest), asked.prompt(model.manifest)
        request = Decode(latents, label, prompt=prompt, same_noise=True)
        save(args, model.batches(request), len(latents), arrays=arrays)
        next_command = first_command(args.artifact, model.manifest)
        conclude_output(args, model, len(latents), *next_command)
