"""Arguments and output of commands that work through a data set: `--shards`."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from runtime.artifact.manifest import Manifest
from runtime.bulk.ledger import LEDGER, SKIPPED, Ledger, belongs
from runtime.bulk.meter import EngineMeter
from runtime.bulk.network import Prepared
from runtime.bulk.pipeline import GROUP, Bulk
from runtime.bulk.places import Place, opened
from runtime.bulk.remote import expanded
from runtime.bulk.sources import find
from runtime.bulk.workers import forget_workers
from runtime.commands._arguments import load_model, positive
from runtime.commands._ray import add_ray, work_by_ray
from runtime.engines.backend import Variant
from runtime.errors import InputError
from runtime.images.files import REQUEST, begin_folder
from runtime.images.trees import first_few
from runtime.machine import cores
from runtime.model import Model

_REMOTE_READERS = 16
"""Threads that open pictures, where these wait for a network."""


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
    add_ray(group)


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


def work_through(
    args: argparse.Namespace, prepare: Callable[[argparse.Namespace, Model], Prepared]
) -> None:
    """The pictures of `args.images` through a network, into shards in the folder `args.out`."""
    out, group = shards_folder(args), args.group or GROUP
    check_shared(args)
    if args.labels is not None and len(args.labels) != 1:
        raise InputError("labels", "one class for all pictures", f"{len(args.labels)}")
    _check_sources(args.images, out)
    work = _work_here if args.ray is None else work_by_ray
    with opened(out) as place:

        def begin(manifest: Manifest, variant: Variant, same: Mapping[str, Any]) -> None:
            rest = dict(same) | {"group": group, "column": args.column}
            begin_shards(place, same_model(manifest, variant) | rest, force=args.force)

        ledger, busy = work(args, place, prepare, group, begin)
        skipped = f"{ledger.skipped} skipped" + (f" (see {SKIPPED})" if ledger.skipped else "")
        conclude_shards(place, f"{ledger.rows} pictures, {skipped}", busy)


def _check_sources(images: Sequence[Path | str], out: Path | str) -> None:
    """InputError where a source is one of the files that a job may write, or with --force delete,
    in `out`."""
    place = PurePosixPath(out) if isinstance(out, str) else out.resolve()
    for each in expanded(images):
        source = PurePosixPath(each) if isinstance(each, str) else each.resolve()
        if source.parent == place and belongs(source.name):
            expected = "another folder than that of the pictures, whose files have such names"
            raise InputError("out", expected, f"{out}, where {source.name} is to be read")


def _work_here(
    args: argparse.Namespace,
    place: Place,
    prepare: Callable[[argparse.Namespace, Model], Prepared],
    group: int,
    begin: Callable[[Manifest, Variant, Mapping[str, Any]], None],
) -> tuple[Ledger, float]:
    """Write the shards in this process; what is done, and how busy the engine was."""
    found, meter = find(args.images, args.column), EngineMeter()
    readers = _REMOTE_READERS if any(isinstance(each, str) for each in args.images) else 0
    with load_model(args, observer=meter) as model:
        prepared = prepare(args, model)
        begin(model.manifest, model.variant, prepared.same)
        bulk = Bulk(
            place.folder,
            prepared.spec_of,
            group,
            args.strict,
            args.max_pixels,
            max(cores(), readers),
            put=place.put,
        )
        meter.begin()
        with tqdm(total=found.total, unit="img", disable=None) as bar:
            ledger = bulk.run(prepared.network, found.items, bar.update)
        return ledger, meter.busy(model.runners)


def same_model(manifest: Manifest, variant: Variant) -> dict[str, Any]:
    """What of a model changes bytes."""
    return {
        "artifact": manifest.full_name,
        "files": manifest.files,
        "engine": str(variant),
    }


def begin_shards(place: Place, same: Mapping[str, Any], *, force: bool) -> None:
    """Begin a folder of shards, or go on with the one that the same request (`same`) began. With
    `force` always begin. InputError where another command is at work there."""
    place.hold()
    if force:
        place.discard()
    out = place.folder
    # Nothing to resume is no error: a scheduler starts the same command again and again. A run that
    # was killed early has left shards, but no ledger yet, at a URL.
    begun = any((out / name).exists() for name in (REQUEST, LEDGER))
    begin_folder(out, same, resume=begun and not force, name=place.name)
    place.put(REQUEST)
    forget_workers(out)


def conclude_shards(place: Place, made: str, busy: float) -> None:
    """The last line: what was made, and the share of the time for which the engine was busy. Before
    it, which shards of earlier runs are gone: a job that goes on does not make them again."""
    if gone := place.gone():
        print(
            f"{place.name}: {len(gone)} finished shards are no longer there: {first_few(gone)}; "
            "where they were not moved on purpose, --force makes all of them again",
            file=sys.stderr,
        )
    print(
        f"{place.name}: {made}; the engine was busy {busy:.1%} of the time; "
        "next: read them as docs/bulk.md says",
        file=sys.stderr,
    )


def shards_folder(args: argparse.Namespace) -> Path | str:
    """Where shards go, a path or a URL; InputError where --out is a file."""
    if isinstance(args.out, str):
        return args.out
    if args.out.suffix != "":
        raise InputError("out", "a folder for the shards", f"{args.out.path}")
    folder: Path = args.out.path
    return folder


def check_shared(args: argparse.Namespace) -> None:
    """InputError where workers cannot write to --out."""
    if args.ray is not None and isinstance(args.out, str):
        raise InputError("--ray", "an --out that is a folder which all workers share", args.out)
