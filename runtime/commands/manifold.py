"""Draw a grid over a 2-D latent space."""

import argparse

from runtime.commands._arguments import add_output, load_model
from runtime.commands._output import conclude_output, first_command, save


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_output(parser)
    parser.add_argument("--steps", type=int, default=20, help="images along each side")


def run(args: argparse.Namespace) -> None:
    args.columns = args.steps
    with load_model(args) as model:
        images = model.manifold(args.steps, labels=args.labels)
        save(args, [images], len(images))
        conclude_output(args, model, len(images), *first_command(args.artifact, model.manifest))
