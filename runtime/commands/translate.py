"""Translate pictures into others: super-resolution, style, inpainting, ..."""

import argparse
from pathlib import Path

from runtime.commands._arguments import (
    add_pictures,
    add_sheet,
    add_tile,
    load_model,
    read_pictures,
)
from runtime.commands._output import save
from runtime.images import ImageSpec, fit, open_image
from runtime.requests.translate import Translate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_sheet(parser)
    add_pictures(parser)
    add_tile(parser)
    parser.add_argument("--mask", type=Path, help="a picture, white where the network is to act")
    parser.add_argument("--seed", type=int, default=0, help="of the network's noise (default 0)")


def run(args: argparse.Namespace) -> None:
    with load_model(args) as model:
        images, names = read_pictures(model, "translate", args)
        mask = None
        if args.mask is not None:
            height, width = images.shape[1:3]
            grey = ImageSpec(height=height, width=width, channels=1)
            mask = fit(open_image(args.mask, max_pixels=args.max_pixels), grey)[None]
        request = Translate(images, mask, args.labels, args.seed, tile=args.tile)
        save(args, model.batches(request), len(images), names)
