"""Measure every way to run an artifact here, and remember the fastest."""

import argparse

from runtime.commands._arguments import add_engine, engine_options, positive
from runtime.loading import tune


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_engine(parser)
    parser.add_argument("-n", type=positive, default=10_000, help="latents to compare pixels on")


def run(args: argparse.Namespace) -> None:
    for m in tune(args.artifact, **engine_options(args), latents=args.n):
        print(
            f"{m.variant!s:<30} {m.images_per_second:>10.3g} images/s, grey levels from the "
            f"reference: mean {m.mean_levels:.4f}, largest {m.max_levels:.0f}"
            f"{'' if m.is_acceptable else ' (outside the tolerance)'}"
        )
