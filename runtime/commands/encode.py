"""Encode pictures into an .npz, whole data sets into shards."""

import argparse

import numpy as np

from runtime.bulk.buckets import Bucket, buckets, nearest_of
from runtime.bulk.encoder import DTYPES, Encoder
from runtime.bulk.formats import TENSOR_FORMATS, check_format
from runtime.bulk.network import Prepared
from runtime.commands._arguments import (
    add_output,
    add_pictures,
    add_tile,
    load_model,
    positive,
    read_pictures,
)
from runtime.commands._output import conclude_output, counted, decoded_as
from runtime.commands._shards import (
    add_shards,
    add_sources,
    check_no_shards,
    work_through,
)
from runtime.errors import InputError
from runtime.images import ImageSpec
from runtime.images.files import save_arrays
from runtime.model import Model
from runtime.requests.checks import check_seed
from runtime.requests.encode import Encode
from runtime.requests.pictures import picture_spec, size_or_default


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_output(parser)
    add_pictures(parser)
    add_tile(parser)
    parser.add_argument(
        "--seed", type=int, help="draw a latent of each posterior, with its log density"
    )
    add_shards(parser, "folders, WebDataset tars and Parquet files into", TENSOR_FORMATS)
    add_sources(parser)
    parser.add_argument(
        "--buckets",
        type=positive,
        metavar="BASE",
        help="with --shards: each picture to one of the sizes of about BASE x BASE pixels, the "
        "nearest in shape",
    )
    parser.add_argument(
        "--dtype", choices=DTYPES, help="with --shards: of their values (default float32)"
    )
    parser.add_argument(
        "--continue",
        dest="resume",
        action="store_true",
        help="with --shards: what an earlier run of the same command left unfinished",
    )


def run(args: argparse.Namespace) -> None:
    if args.shards:
        check_format(args.format or TENSOR_FORMATS[0])
        work_through(args, _prepared)
        return
    own = "buckets", "format", "dtype", "group", "resume", "strict", "column", "ray", "workers"
    check_no_shards(args, *own)
    args.out.check_arrays()
    with load_model(args) as model:
        images, names = read_pictures(model, "encode", args)
        request = Encode(images, args.labels, args.seed, tile=args.tile)
        parts = [part.arrays() for part in counted(model.batches(request), len(images))]
        arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        save_arrays(args.out, arrays | {"names": np.array(names, dtype=np.str_)})
        decoding = "latentserve", "decode", args.artifact, args.out.path
        asked = decoded_as(args, model.manifest)
        conclude_output(
            args, model, len(images), *decoding, *asked, "-o", "decoded.png", what="latent"
        )


def _prepared(args: argparse.Namespace, model: Model) -> Prepared:
    """The encoder of a model, as the arguments have it."""
    seed = None if args.seed is None else check_seed("seed", args.seed)
    kind = args.format or TENSOR_FORMATS[0]
    encoder = Encoder(model, args.dtype or "float32", args.labels, seed, args.tile, kind)
    specs = _sizes(model, args.size, args.buckets, tiled=args.tile is not None)
    for spec in specs.values():  # a size that does not fit, labels or a seed that are wrong
        encoder.chunk_size(spec)
    same = {
        "sizes": [f"{height}x{width}" for height, width in specs],
        "format": kind,
        "dtype": encoder.dtype,
        "tile": args.tile,
        "labels": args.labels,
        "seed": args.seed,
    }
    return Prepared(encoder, nearest_of(specs), same)


def _sizes(
    model: Model, size: list[int] | None, base: int | None, *, tiled: bool = False
) -> dict[Bucket, ImageSpec]:
    """What pictures are brought to: buckets, or the one size that was asked for, larger ones too
    where they are `tiled`, or the model's default."""
    manifest = model.manifest
    if base is not None and size is not None:
        raise InputError("buckets", "either --size or --buckets", "both")
    if base is not None:
        chosen = buckets(manifest, base)
    else:
        chosen = (size_or_default(manifest, size, tiled=tiled),)
    return {each: picture_spec(manifest, "encode", each, each) for each in chosen}
