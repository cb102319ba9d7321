"""Encode pictures and decode them again."""

import argparse

import numpy as np

from runtime.commands._arguments import add_columns, add_engine, add_images, add_output, load_model
from runtime.commands._output import save
from runtime.images.files import load_images
from runtime.requests.decode import Decode
from runtime.requests.reconstruct import Centre


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_engine(parser)
    add_output(parser)
    add_columns(parser)
    add_images(parser)
    parser.add_argument("--side-by-side", action="store_true", help="each picture beside its copy")


def run(args: argparse.Namespace) -> None:
    with load_model(args) as model:
        images, names = load_images(args.images, model.manifest.image)
        labels = args.labels if model.manifest.encoder_takes_labels else None
        latents = np.concatenate(list(model.batches(Centre(images, labels))))
        rebuilt = model.batches(Decode(latents, args.labels))
        if args.side_by_side:
            whole = np.concatenate(list(rebuilt))
            rebuilt = [np.concatenate([images, whole], axis=2)]
        save(args, rebuilt, len(images), names)
