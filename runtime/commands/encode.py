"""Encode pictures into an .npz, whole data sets into shards."""

import argparse

import numpy as np

from runtime.commands._arguments import (
    add_output,
    add_pictures,
    add_tile,
    load_model,
    read_pictures,
)
from runtime.commands._output import conclude_output, counted
from runtime.commands._shards import add_shards, check_no_shards, encode_shards
from runtime.images.files import save_arrays
from runtime.requests.encode import Encode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_output(parser)
    add_pictures(parser)
    add_tile(parser)
    parser.add_argument(
        "--seed", type=int, help="draw a latent of each posterior, with its log density"
    )
    add_shards(parser)


def run(args: argparse.Namespace) -> None:
    if args.shards:
        encode_shards(args)
        return
    check_no_shards(args, "buckets", "format", "dtype", "group", "resume", "strict")
    args.out.check_arrays()
    with load_model(args) as model:
        images, names = read_pictures(model, "encode", args)
        request = Encode(images, args.labels, args.seed, tile=args.tile)
        parts = [part.arrays() for part in counted(model.batches(request), len(images))]
        arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        save_arrays(args.out, arrays | {"names": np.array(names, dtype=np.str_)})
        decoding = "latentserve", "decode", args.artifact, args.out.path, "-o", "decoded.png"
        conclude_output(args, model, len(images), *decoding, what="latent")
