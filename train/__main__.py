"""Command line: `python -m train RECIPE --data PATH --out runs/x`."""

import argparse
import logging
import shlex
import sys
from contextlib import nullcontext
from difflib import get_close_matches
from pathlib import Path

from pydantic import ValidationError
from tqdm.contrib.logging import logging_redirect_tqdm

from runtime.images import MAX_PIXELS
from train import checkpoint
from train.data import expect_files, load
from train.devices import find
from train.errors import OptionError, TrainError
from train.loop import expect_new, recorded_recipe, train
from train.options import Options, build, labelled
from train.precision import faster, warn_of_emulation
from train.processes import Processes, joined
from train.progress import summary
from train.recipes import RECIPES
from train.watch import Watch

logger = logging.getLogger(__name__)


def main(arguments: list[str] | None = None, prog: str = "python -m train") -> int:
    given = sys.argv[1:] if arguments is None else arguments
    parser = _parser(prog)
    options = parser.parse_args(given)
    if options.list:
        for name, make in RECIPES.items():
            print(f"{name:26} {make().summary}")
        return 0
    if options.recipe is None or options.out is None:
        parser.error("expected RECIPE and --out FOLDER, or --list")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    # Log lines go above the bar.
    with logging_redirect_tqdm(), joined() as processes:
        return _train(options, [*shlex.split(prog), *given], processes)


def _train(options: argparse.Namespace, command: list[str], processes: Processes) -> int:
    try:
        _run(options, processes)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        print(f"error: {reason}", file=sys.stderr)
        return 1
    except (TrainError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if processes.leads:
            print(f"stopped; go on with: {_again(command, options.out)}", file=sys.stderr)
        return 130
    return 0


def _run(options: argparse.Namespace, processes: Processes) -> None:
    if options.watch and processes.count > 1:
        raise OptionError(f"--watch: expected one process, found {processes.count}")
    with Watch() if options.watch else nullcontext() as watch:
        if watch is not None:
            logger.info("watch it at %s", watch.url)
        _trained(options, processes, watch)


def _trained(options: argparse.Namespace, processes: Processes, watch: Watch | None) -> None:
    if not options.resume and not options.force:
        expect_new(options.out)  # before the data are read, which may take minutes
    asked = _asked(options, processes)
    own = recorded_recipe(options.out) if options.resume else None
    device = find(processes.device(options.device))
    recipe = build(options.recipe, asked, own)
    expect_files(recipe.source, options.data, download=options.download)
    data = load(
        recipe.source,
        options.data,
        recipe.image,
        download=options.download,
        max_pixels=options.max_pixels,
        labels=labelled(recipe, asked),
        validation=recipe.validation,
    )
    recipe = build(options.recipe, asked, own, data)
    if options.precision is None and own is None and processes.count == 1:
        recipe = faster(recipe, data, device)
    else:  # several processes would not choose the same
        warn_of_emulation(recipe, data, device)
    metrics = train(
        recipe,
        data,
        options.out,
        resume=options.resume,
        force=options.force,
        device=options.device,
        keep=options.keep,
        processes=processes,
        watch=watch,
    )
    if processes.leads:
        print(summary(options.out, metrics))


def _asked(options: argparse.Namespace, processes: Processes) -> Options:
    return Options(
        image_size=options.image_size,
        width=options.width,
        conditional=options.conditional,
        mirror=options.mirror,
        steps=options.steps,
        batch_size=options.batch_size,
        learning_rate=options.lr,
        precision=options.precision,
        seed=options.seed,
        shards=options.shards,
        validation=options.validation,
        processes=processes.count,
    )


def _again(command: list[str], out: Path) -> str:
    """The command that resumes the run. Before the first checkpoint, the same command starts
    again."""
    words = [word for word in command if word not in ("--resume", "--force")]
    resume = ["--resume"] if checkpoint.steps(out / "checkpoints") else []
    return shlex.join([*words, *resume])


def _recipe(name: str) -> str:
    if name in RECIPES:
        return name
    near = get_close_matches(name, RECIPES, cutoff=0.7)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise argparse.ArgumentTypeError(f"no recipe {name!r}: {hint}`--list` shows all recipes")


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description="Train a recipe into a run folder.")
    parser.add_argument("recipe", nargs="?", type=_recipe, metavar="RECIPE")
    parser.add_argument("--list", action="store_true", help="list the recipes and stop")
    parser.add_argument("--data", type=Path, metavar="PATH", help="the data set's folder or zip")
    parser.add_argument(
        "--max-pixels",
        type=_positive,
        default=MAX_PIXELS,
        help=f"leave out larger pictures (default {MAX_PIXELS})",
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="the run folder to write")
    _add_settings(parser)
    begun = parser.add_mutually_exclusive_group()
    begun.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    begun.add_argument(
        "--force", action="store_true", help="delete the run that is in --out, and start anew"
    )
    parser.add_argument("--keep", type=_positive, default=2, help="checkpoints kept (default 2)")
    parser.add_argument(
        "--download", action="store_true", help="fetch missing MNIST files into --data and verify"
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="serve a page that shows the run while it trains, on 127.0.0.1",
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... (default auto)")
    return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    own = parser.add_argument_group("settings, instead of the recipe's (or the resumed run's) own")
    own.add_argument("--steps", type=_positive)
    own.add_argument("--batch-size", type=_positive)
    own.add_argument(
        "--lr",
        type=_rate,
        help="learning rate; of a GAN the generator's, the discriminator's in proportion",
    )
    own.add_argument(
        "--precision",
        choices=("fp32", "bf16"),
        help="default: the recipe's; of a recipe in bf16, what is faster on this device",
    )
    own.add_argument("--seed", type=int)
    own.add_argument(
        "--validation",
        type=_positive,
        metavar="N",
        help="hold out N of the training images, and judge by these in the test images' place: for "
        "choosing settings",
    )
    own.add_argument(
        "--shards",
        type=_positive,
        help="equal parts of a batch, computed one after another, or each by a process of torchrun "
        "(at least one a process)",
    )
    sizes = parser.add_argument_group("of images_gan and images_vae")
    sizes.add_argument(
        "--image-size", type=_positive, help="height and width, 32 to 256 (default 64)"
    )
    sizes.add_argument(
        "--width", type=_positive, help="channels at full size: twice as many take 4 times as long"
    )
    sizes.add_argument(
        "--conditional", action="store_true", help="train by labels: the names of the folders"
    )
    sizes.add_argument(
        "--mirror", action="store_true", help="pictures may be mirrored: photos, not letters"
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {value}")
    return value


def _rate(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected between 0 and 1, found {text}")
    return value


_rate.__name__ = "number"
_positive.__name__ = "positive integer"  # argparse: "invalid positive integer value: 'abc'"


if __name__ == "__main__":
    sys.exit(main())
