"""Command line: `python -m train RECIPE --data PATH --out runs/x`."""

import argparse
import logging
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from runtime.images import MAX_PIXELS
from runtime.terminal import conclude
from train import checkpoint
from train.data import load
from train.errors import TrainError
from train.loop import discard, recorded_recipe, train
from train.processes import Processes, joined
from train.recipes import RECIPES


def main(arguments: list[str] | None = None, prog: str = "python -m train") -> int:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    given = sys.argv[1:] if arguments is None else arguments
    parser = _parser(prog)
    options = parser.parse_args(given)
    if options.list:
        for name, make in RECIPES.items():
            print(f"{name:26} {make().summary}")
        return 0
    if options.recipe is None or options.out is None:
        parser.error("expected RECIPE and --out FOLDER, or --list")
    with joined() as processes:
        return _train(options, shlex.join([*shlex.split(prog), *given]), processes)


def _train(options: argparse.Namespace, command: str, processes: Processes) -> int:
    recipe = RECIPES[options.recipe]()
    try:
        own = recorded_recipe(options.out) if options.resume else recipe
        recipe = replace(
            recipe,
            steps=own.steps if options.steps is None else options.steps,
            seed=own.seed if options.seed is None else options.seed,
            shards=max(own.shards, processes.count) if options.shards is None else options.shards,
        )
        data = load(
            recipe.source,
            options.data,
            recipe.image,
            download=options.download,
            max_pixels=options.max_pixels,
        )
        if options.force:
            discard(options.out, processes)
        metrics = train(
            recipe,
            data,
            options.out,
            resume=options.resume,
            device=options.device,
            keep=options.keep,
            processes=processes,
        )
    except ValidationError as error:
        print(f"error: {error.errors()[0]['msg']}", file=sys.stderr)
        return 1
    except (TrainError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if processes.leads:
            print(f"stopped; go on with: {_again(command, options.out)}", file=sys.stderr)
        return 130
    for name, value in metrics.items():
        print(f"{name} {value:.4g}")
    if processes.leads:
        made = f"{options.out}: {recipe.steps} steps of {recipe.name}, sheets in samples/"
        conclude(made, "latentserve", "export", "run", options.out, "--out", "mine")
    return 0


def _again(command: str, out: Path) -> str:
    """The command that resumes the run. Before the first checkpoint, the same command starts
    again."""
    words = [word for word in shlex.split(command) if word not in ("--resume", "--force")]
    resume = ["--resume"] if checkpoint.steps(out / "checkpoints") else []
    return shlex.join([*words, *resume])


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description="Train a recipe into a run folder.")
    parser.add_argument("recipe", nargs="?", choices=RECIPES, metavar="RECIPE")
    parser.add_argument("--list", action="store_true", help="list the recipes and stop")
    parser.add_argument("--data", type=Path, metavar="PATH", help="the data set's folder or zip")
    parser.add_argument(
        "--max-pixels",
        type=_positive,
        default=MAX_PIXELS,
        help=f"leave out larger pictures (default {MAX_PIXELS})",
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="the run folder to write")
    parser.add_argument("--steps", type=_positive, help="instead of the recipe's (or run's) own")
    parser.add_argument("--seed", type=int, help="instead of the recipe's (or run's) own")
    parser.add_argument(
        "--shards",
        type=_positive,
        help="equal parts of a batch, computed one after another, or each by a process of torchrun "
        "(default: the recipe's or run's own, at least one a process)",
    )
    begun = parser.add_mutually_exclusive_group()
    begun.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    begun.add_argument(
        "--force", action="store_true", help="delete the run that is in --out, and start anew"
    )
    parser.add_argument("--keep", type=_positive, default=2, help="checkpoints kept (default 2)")
    parser.add_argument(
        "--download", action="store_true", help="fetch missing MNIST files into --data and verify"
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... (default auto)")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {value}")
    return value


_positive.__name__ = "positive integer"  # argparse: "invalid positive integer value: 'abc'"


if __name__ == "__main__":
    sys.exit(main())
