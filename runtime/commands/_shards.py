"""Arguments and output of commands that work through a data set: `--shards`."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from runtime.artifact.manifest import Manifest
from runtime.bulk.buckets import SpecOf
from runtime.bulk.ledger import LEDGER, SKIPPED, discard
from runtime.bulk.meter import EngineMeter
from runtime.bulk.network import Network
from runtime.bulk.pipeline import Bulk
from runtime.bulk.sources import find
from runtime.bulk.workers import forget_workers
from runtime.commands._arguments import positive
from runtime.engines.backend import Variant
from runtime.errors import InputError
from runtime.images.files import begin_folder

GROUP = 4096


def add_shards(parser: argparse.ArgumentParser, taken: str, formats: Sequence[str] = ()) -> None:
    """`--shards`, and what goes with it, of a command that takes `taken`. `formats`: where the
    command has no --format of its own."""
    group = parser.add_argument_group("whole data sets (docs/bulk.md)")
    group.add_argument(
        "--shards", action="store_true", help=f"{taken} shards in the folder --out, in flat memory"
    )
    if formats:
        text = f"with --shards: of the shards (default {formats[0]})"
        group.add_argument("--format", choices=formats, help=text)
    group.add_argument(
        "--group", type=positive, help=f"pictures of a group of shards (default {GROUP})"
    )


def add_sources(parser: argparse.ArgumentParser) -> None:
    """What goes with --shards where pictures are read."""
    parser.add_argument(
        "--column", help="with --shards: the column of pictures of Parquet files (default image)"
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="with --shards: stop at a damaged picture (else it is skipped)",
    )


def check_no_shards(args: argparse.Namespace, *given: str) -> None:
    """InputError for options that are for shards alone: those of these names."""
    for name in given:
        if getattr(args, name):
            option = "--continue" if name == "resume" else f"--{name}"
            raise InputError(option, "--shards with it", "none")


def one_label(args: argparse.Namespace) -> None:
    if args.labels is not None and len(args.labels) != 1:
        raise InputError("labels", "one class for all pictures", f"{len(args.labels)}")


def work_through(
    args: argparse.Namespace,
    network: Network,
    spec_of: SpecOf,
    same: Mapping[str, Any],
    meter: EngineMeter,
) -> None:
    """The pictures of `args.images` through a network, into shards in the folder `args.out`.
    `same`: what must be the same when the job is continued: each of it changes bytes."""
    out, model, group = shards_folder(args), network.model, args.group or GROUP
    found = find(args.images, args.column)
    if args.force:
        discard(out)
    begin_shards(out, same_model(model.manifest, model.variant) | dict(same) | {"group": group})
    bulk = Bulk(out, spec_of, group, args.strict, args.max_pixels)
    meter.begin()
    with tqdm(total=found.total, unit="img", disable=None) as bar:
        ledger = bulk.run(network, found.items, bar.update)
    busy = meter.busy(model.runners)
    skipped = f"{ledger.skipped} skipped" + (f" (see {SKIPPED})" if ledger.skipped else "")
    conclude_shards(out, f"{ledger.rows} pictures, {skipped}", busy)


def same_model(manifest: Manifest, variant: Variant) -> dict[str, Any]:
    """What of a model changes bytes."""
    return {
        "artifact": f"{manifest.name}@{manifest.version}",
        "files": manifest.files,
        "engine": str(variant),
    }


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
