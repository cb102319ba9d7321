"""Draw images on the path between the latents of two seeds."""

import argparse

from runtime.commands._arguments import add_prompt, add_sheet, load_model, seeds
from runtime.commands._output import conclude_output, condition_words, save
from runtime.errors import InputError
from runtime.images.layout import DEFAULT_FPS, MAX_FPS
from runtime.requests.interpolate import Interpolate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_sheet(parser)
    add_prompt(parser)
    parser.add_argument("--seeds", type=seeds, required=True, help="two seeds: 3,8")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0, help="of the network's noise (default 0)")
    parser.add_argument("--kind", default="slerp", choices=("slerp", "lerp"))
    speeds, text = range(1, MAX_FPS + 1), f"frames a second of a .gif (default {DEFAULT_FPS})"
    parser.add_argument("--fps", type=int, choices=speeds, metavar="FPS", help=text)
    parser.add_argument("--there-and-back", action="store_true", help="the way of a .gif")


def run(args: argparse.Namespace) -> None:
    if len(args.seeds) != 2:
        raise InputError("--seeds", "two seeds, such as 3,8", f"{len(args.seeds)} of them")
    args.columns = args.columns or args.steps
    with load_model(args) as model:
        a, b = model.latents(seeds=args.seeds)
        request = Interpolate(
            a, b, args.steps, args.kind, args.labels, args.seed, prompt=args.prompt
        )
        save(args, model.batches(request), args.steps)
        ends = ",".join(map(str, args.seeds))
        chosen = *condition_words(args), "--seeds", ends
        command = "latentserve", "sample", args.artifact, *chosen, "-o", "ends.png"
        conclude_output(args, model, args.steps, *command)
