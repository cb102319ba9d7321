"""Draw a grid over a 2-D latent space."""

import argparse

from runtime.commands._arguments import add_output, load_model
from runtime.commands._output import save


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_output(parser)
    parser.add_argument("--steps", type=int, default=20, help="images along each side")


def run(args: argparse.Namespace) -> None:
    args.columns = args.steps
    with load_model(args) as model:
        images = model.manifold(args.steps, labels=args.labels)
        save(args, [images], len(images))
