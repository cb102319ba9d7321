"""Arguments and output of commands that work through a data set: `--shards`."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from runtime.bulk.buckets import Bucket, buckets
from runtime.bulk.encoder import DTYPES, Encoder
from runtime.bulk.formats import TENSOR_FORMATS, check_format
from runtime.bulk.ledger import LEDGER, SKIPPED, discard
from runtime.bulk.meter import EngineMeter
from runtime.bulk.pipeline import Bulk
from runtime.bulk.sources import find
from runtime.bulk.workers import forget_workers
from runtime.commands._arguments import load_model, positive
from runtime.errors import InputError
from runtime.images import ImageSpec
from runtime.images.files import begin_folder
from runtime.model import Model
from runtime.requests.checks import check_seed, check_size
from runtime.requests.pictures import picture_spec

GROUP = 4096


def add_shards(parser: argparse.ArgumentParser) -> None:
    """`--shards`, and what goes with it."""
    group = parser.add_argument_group("whole data sets (docs/bulk.md)")
    group.add_argument(
        "--shards",
        action="store_true",
        help="folders and WebDataset tars into shards in the folder --out, in flat memory",
    )
    group.add_argument(
        "--buckets",
        type=positive,
        metavar="BASE",
        help="each picture to one of the sizes of about BASE x BASE pixels, the nearest in shape",
    )
    group.add_argument(
        "--format", choices=TENSOR_FORMATS, help="of the shards (default safetensors)"
    )
    group.add_argument("--dtype", choices=DTYPES, help="of their values (default float32)")
    group.add_argument(
        "--group", type=positive, help=f"pictures of a group of shards (default {GROUP})"
    )
    group.add_argument(
        "--continue",
        dest="resume",
        action="store_true",
        help="what an earlier run of the same command left unfinished",
    )
    group.add_argument(
        "--strict", action="store_true", help="stop at a damaged picture (else it is skipped)"
    )


def check_no_shards(args: argparse.Namespace, *given: str) -> None:
    """InputError for options that are for shards alone: those of these names."""
    for name in given:
        if getattr(args, name):
            option = "--continue" if name == "resume" else f"--{name}"
            raise InputError(option, "--shards with it", "none")


def encode_shards(args: argparse.Namespace) -> None:
    """Encode the pictures of `args.images` into shards in the folder `args.out`."""
    out = shards_folder(args)
    if args.labels is not None and len(args.labels) != 1:
        raise InputError("labels", "one class for all pictures", f"{len(args.labels)}")
    kind = args.format or TENSOR_FORMATS[0]
    check_format(kind)
    found = find(args.images)
    meter = EngineMeter()
    with load_model(args, observer=meter) as model:
        seed = None if args.seed is None else check_seed("seed", args.seed)
        encoder = Encoder(model, args.dtype or "float32", args.labels, seed, args.tile)
        specs = sizes(model, args.size, args.buckets, tiled=args.tile is not None)
        for spec in specs.values():  # a size that does not fit, labels or a seed that are wrong
            encoder.chunk_size(spec)
        if args.force:
            discard(out)
        begin_shards(out, _request(args, model, specs))
        bulk = Bulk(
            out,
            specs,
            kind,
            args.group or GROUP,
            args.strict,
            args.max_pixels,
            about={"artifact": f"{model.manifest.name}@{model.manifest.version}"},
        )
        meter.begin()
        with tqdm(total=found.total, unit="img", disable=None) as bar:
            ledger = bulk.run(encoder, found.items, bar.update)
        busy = meter.busy(model.runners)
    skipped = f"{ledger.skipped} skipped" + (f" (see {SKIPPED})" if ledger.skipped else "")
    conclude_shards(out, f"{ledger.rows} pictures, {skipped}", busy)


def begin_shards(out: Path, same: Mapping[str, Any]) -> None:
    """Begin a folder of shards, or go on with the one that the same request (`same`) began."""
    # Nothing to resume is no error: a scheduler starts the same command again and again.
    begin_folder(out, same, resume=(out / LEDGER).exists())
    forget_workers(out)


def conclude_shards(out: Path, made: str, busy: float) -> None:
    """The last line: what was made, and the share of the time for which the engine was busy."""
    print(
        f"{out}: {made}; the engine was busy {busy:.1%} of the time; "
        "next: read them as docs/bulk.md says",
        file=sys.stderr,
    )


def shards_folder(args: argparse.Namespace) -> Path:
    """Where shards go; InputError where --out is a file."""
    if args.out.suffix != "":
        raise InputError("out", "a folder for the shards", f"{args.out.path}")
    folder: Path = args.out.path
    return folder


def sizes(
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
        values = dict(check_size(manifest, size, tiled=tiled))
        image = manifest.image(tuple(values.items()))
        chosen = ((values.get("height", image.height), values.get("width", image.width)),)
    return {each: picture_spec(manifest, "encode", each, each) for each in chosen}


def _request(
    args: argparse.Namespace, model: Model, specs: dict[Bucket, ImageSpec]
) -> dict[str, Any]:
    """What must be the same when a job is continued: each of it changes bytes."""
    return {
        "artifact": f"{model.manifest.name}@{model.manifest.version}",
        "files": model.manifest.files,
        "engine": str(model.variant),
        "sizes": [f"{height}x{width}" for height, width in specs],
        "format": args.format or TENSOR_FORMATS[0],
        "dtype": args.dtype or "float32",
        "group": args.group or GROUP,
        "tile": args.tile,
        "labels": args.labels,
        "seed": args.seed,
    }
