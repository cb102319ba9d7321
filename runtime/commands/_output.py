"""Images of a command into files, with a progress bar; nothing is overwritten unasked."""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray
from tqdm import tqdm

from runtime.artifact.manifest import Manifest
from runtime.bulk.places import is_empty
from runtime.errors import InputError
from runtime.images import UInt8Array
from runtime.images.files import save_images, writable
from runtime.images.layout import Layout
from runtime.model import Model
from runtime.requests import answered
from runtime.terminal import conclude, in_words

T = TypeVar("T", bound=Sized)


def check_output(args: argparse.Namespace) -> None:
    """InputError where `args.out` exists, and neither --force nor --continue was given; or both."""
    if "out" not in args:
        return
    _check_urls(args)
    continues = "resume" in args
    if continues and args.resume:
        if args.force:
            raise InputError("--force", "--force or --continue", "both")
        return
    place = args.out if isinstance(args.out, str) else args.out.path
    is_folder = isinstance(args.out, str) or args.out.suffix == ""
    if _exists(place) and not args.force:
        ways = "--force to write into it" if is_folder else "--force to overwrite it"
        if continues and is_folder:
            ways += ", or --continue to go on with it"
        raise InputError("out", f"a new name, or {ways}", f"{place}, which exists")


def _check_urls(args: argparse.Namespace) -> None:
    """InputError for URLs where they are not read or written."""
    places = args.out, *getattr(args, "images", ())
    urls = [place for place in places if isinstance(place, str)]
    if urls and not getattr(args, "shards", False):
        raise InputError("--shards", "it, with URLs", f"{urls[0]} alone")


def _exists(place: Path | str) -> bool:
    if isinstance(place, str):
        return not is_empty(place)
    with writable(place):
        return any(place.iterdir()) if place.is_dir() else place.exists()


def save(
    args: argparse.Namespace,
    batches: Iterable[UInt8Array],
    n: int,
    names: Iterable[str] | None = None,
    arrays: Callable[[], dict[str, NDArray[Any]]] | None = None,
    done: int = 0,
) -> None:
    """Write n images to `args.out`, laid out as the arguments say; see
    `runtime.images.files.save_images`."""
    images = counted(batches, n, done)
    save_images(args.out, images, n, layout=layout_of(args), names=names, arrays=arrays, done=done)


def layout_of(args: argparse.Namespace) -> Layout:
    """The layout by a command's arguments, not all of which every command has."""
    given = {field.name: getattr(args, field.name, None) for field in fields(Layout)}
    return Layout(**{name: value for name, value in given.items() if value is not None})


def counted(batches: Iterable[T], n: int, done: int = 0) -> Iterator[T]:
    """The same batches, with a progress bar of n images."""
    with tqdm(total=n, initial=done, unit="img", disable=None) as bar:
        for batch in batches:
            yield batch
            bar.update(len(batch))


def conclude_output(
    args: argparse.Namespace, model: Model, count: int, *command: object, what: str = "image"
) -> None:
    """The last line of a command: what is in `args.out`, and the command to go on with."""
    manifest = model.manifest
    made_by = f"by {manifest.full_name}"
    conclude(f"{args.out.path}: {in_words(count, what)}, {made_by}", *command)


def condition_words(args: argparse.Namespace) -> list[object]:
    """The words of a command that asks for the same one label, or the same prompt."""
    if args.prompt is not None:
        return ["--prompt", args.prompt]
    if args.labels is not None and len(args.labels) == 1:
        return ["--labels", args.labels[0]]
    return []


def licence_line(manifest: Manifest) -> str:
    """The first line of an artifact's licence, which may have none."""
    return next(iter(manifest.licence.splitlines()), "")


def decoded_as(args: argparse.Namespace, manifest: Manifest) -> list[object]:
    """The words that say what is drawn of latents, of a network that must be told: the label that
    they were encoded by, or else the first."""
    if manifest.vocabulary is not None:
        return ["--prompt", manifest.vocabulary.examples[0]]
    if manifest.labels is None:
        return []
    return ["--labels", ",".join(map(str, args.labels or manifest.labels[:1]))]


def first_command(artifact: object, manifest: Manifest) -> tuple[object, ...]:
    """The words of a command that tries an artifact."""
    requests = answered(manifest)
    if "sample" in requests:
        return "latentserve", "sample", artifact, "-n", 64, "--seed", 7, "-o", "sheet.png"
    request = "translate" if "translate" in requests else requests[0]
    given, out = {
        "decode": ("latents.npy", "decoded.png"),
        "encode": ("picture.png", "latents.npz"),
    }.get(request, ("picture.png", f"{request}d.png"))
    return "latentserve", request, artifact, given, "-o", out
