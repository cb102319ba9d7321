"""Encode pictures and decode them again."""

import argparse

import numpy as np

from runtime.commands._arguments import (
    add_pictures,
    add_prompt,
    add_sheet,
    load_model,
    read_pictures,
)
from runtime.commands._output import conclude_output, save
from runtime.requests.reconstruct import Reconstruct


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_sheet(parser)
    add_prompt(parser)
    add_pictures(parser)
    parser.add_argument("--side-by-side", action="store_true", help="each picture beside its copy")


def run(args: argparse.Namespace) -> None:
    with load_model(args) as model:
        images, names = read_pictures(model, "encode", args)
        rebuilt = model.batches(Reconstruct(images, args.labels, prompt=args.prompt))
        if args.side_by_side:
            whole = np.concatenate(list(rebuilt))
            rebuilt = [np.concatenate([images, whole], axis=2)]
        save(args, rebuilt, len(images), names)
        encoding = "latentserve", "encode", args.artifact, *args.images, "-o", "latents.npz"
        conclude_output(args, model, len(images), *encoding)
