"""Measure every way to run an artifact; remember the fastest."""

import argparse
import logging

from runtime.artifact.reading import artifacts_of
from runtime.commands._arguments import add_engine, engine_options, positive
from runtime.loading import tune
from runtime.terminal import SERVE, conclude


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_engine(parser)
    parser.add_argument("-n", type=positive, default=10_000, help="latents to compare pixels on")


def run(args: argparse.Namespace) -> None:
    logging.getLogger("runtime").setLevel(logging.INFO)  # what is being measured: it takes a while
    measured = tune(args.artifact, **engine_options(args), latents=args.n)
    for m in measured:
        print(
            f"{'*' if m.is_chosen else ' '} {m.variant!s:<30} {m.images_per_second:>10.3g} "
            f"images/s, {m.one_at_a_time:>8.3g} one at a time; grey levels from the reference: "
            f"mean {m.mean_levels:.4f}, largest {m.max_levels:.0f}"
            f"{'' if m.is_acceptable else ' (outside the tolerance)'}"
        )
    chosen = next(m for m in measured if m.is_chosen)
    made = f"{args.artifact}: {chosen.variant} (marked *) is chosen whenever it is loaded here"
    if same := _narrowed(args):  # `load` and the service measure their own choice otherwise
        made += f" with {same}"
    conclude(made, *SERVE, artifacts_of(args.artifact))


def _narrowed(args: argparse.Namespace) -> str:
    """The options that differ from those of a plain `load`."""
    plain = argparse.ArgumentParser()
    add_engine(plain)
    names = "backend", "precision", "device", "batch", "runners", "threads"
    given = ((name, getattr(args, name)) for name in names)
    return " ".join(
        f"--{name} {value}" for name, value in given if value != plain.get_default(name)
    )
