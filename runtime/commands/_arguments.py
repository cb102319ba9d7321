"""Arguments that several commands take, and the model that they choose."""

import argparse
import re
from functools import partial
from pathlib import Path
from typing import Any

from runtime.bulk.remote import location
from runtime.errors import InputError
from runtime.images import MAX_PIXELS, UInt8Array
from runtime.images.encoding import PICTURE_FORMATS
from runtime.images.files import OUTPUTS, Output
from runtime.images.layout import MAX_SCALE
from runtime.images.reading import load_images
from runtime.loading import Limits, load
from runtime.model import Model
from runtime.observer import Observer
from runtime.requests.checks import Label
from runtime.requests.pictures import picture_spec

_MAX_SEEDS = 10_000_000


def add_engine(parser: argparse.ArgumentParser) -> None:
    """The artifact, and how it runs."""
    parser.add_argument("artifact", help="a folder (artifacts/mnist-vae), or a name, or name@2")
    parser.add_argument("--backend", default="auto", help="auto, onnxruntime, openvino")
    parser.add_argument("--precision", default="auto", help="auto, fp32, bf16, ...")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--batch", type=int, help="images in one engine run")
    parser.add_argument("--runners", type=int, help="engine runs in flight at once")
    parser.add_argument("--threads", type=int, help="cores for one run")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what was loaded")


def engine_options(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of `load` and `tune`."""
    limits = Limits(batch=args.batch, runners=args.runners, threads=args.threads)
    return {
        "backend": args.backend,
        "precision": args.precision,
        "device": args.device,
        "limits": limits,
    }


def load_model(
    args: argparse.Namespace, signed_by: Path | None = None, observer: Observer | None = None
) -> Model:
    return load(args.artifact, **engine_options(args), signed_by=signed_by, observer=observer)


def add_output(parser: argparse.ArgumentParser) -> None:
    """The artifact, how it runs, labels, and where the output goes."""
    add_engine(parser)
    parser.add_argument("-o", "--out", type=_output, required=True, help=OUTPUTS)
    parser.add_argument("--force", action="store_true", help="overwrite what --out names")
    parser.add_argument("--labels", type=_labels, help="one class for all, or one for each: 3,7,7")


def _output(text: str) -> Output | str:
    """Where files go; a URL as it is."""
    place = location(text)
    return place if isinstance(place, str) else Output.at(text)


def add_prompt(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompt", metavar="TEXT", help="for models that read prompts")


def add_sheet(parser: argparse.ArgumentParser) -> None:
    """`add_output`, for images that may go on a sheet."""
    add_output(parser)
    parser.add_argument("--columns", type=positive, help="images across a sheet")
    add_scale(parser)


def add_scale(parser: argparse.ArgumentParser) -> None:
    scales = range(1, MAX_SCALE + 1)
    text = f"enlarge pictures so many times, pixel by pixel (1 to {MAX_SCALE})"
    parser.add_argument("--scale", type=int, choices=scales, metavar="SCALE", default=1, help=text)


def add_pictures(parser: argparse.ArgumentParser) -> None:
    """The pictures that `read_pictures` reads, and their size."""
    parser.add_argument(
        "images",
        type=location,
        nargs="+",
        help="picture files, folders or zips of them, or one .npy",
    )
    parser.add_argument(
        "--max-pixels",
        type=positive,
        default=MAX_PIXELS,
        help=f"refuse larger pictures (default {MAX_PIXELS})",
    )
    add_size(parser)


def add_size(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--size",
        type=_size,
        help="HEIGHTxWIDTH, or one number for both, for models whose images may have several sizes",
    )


def add_tile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tile",
        type=positive,
        help="edge in pixels of the overlapping tiles that images are made in; without it they are "
        "made whole where they fit",
    )


def _size(text: str) -> list[int]:
    if not re.fullmatch(r"[0-9]+(x[0-9]+)?", text):
        expected = "HEIGHTxWIDTH, such as 512x768, or 512"
        raise argparse.ArgumentTypeError(f"expected {expected}, found {text!r}")
    height, _, width = text.partition("x")
    return [int(height), int(width or height)]


def read_pictures(
    model: Model, graph: str, args: argparse.Namespace
) -> tuple[UInt8Array, list[str]]:
    """The pictures of a command, of a size that a graph takes, and their names."""
    out = results_folder(args)
    tile = getattr(args, "tile", None)  # not every command has one
    spec_of = partial(picture_spec, model.manifest, graph, args.size, tile=tile)
    return load_images(args.images, spec_of, max_pixels=args.max_pixels, without=out)


def results_folder(args: argparse.Namespace) -> Path | None:
    """The folder in which each picture of a command gets a file of its name, if any. InputError
    where that would be the picture's own."""
    if isinstance(args.out, str) or args.out.suffix != "":
        return None
    out: Path = args.out.path.resolve()
    kind = PICTURE_FORMATS.get(getattr(args, "format", None) or "", PICTURE_FORMATS["png"])
    for path in args.images:
        place = path.resolve()
        if place in (out, out / f"{place.stem}{kind.suffixes[0]}"):
            expected = "another folder than that of the pictures, whose names the results get"
            raise InputError("out", expected, f"{args.out.path}")
    return out


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {value}")
    return value


def seeds(text: str) -> list[int]:
    """`0,4-6` as [0, 4, 5, 6]."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        start, stop = int(first), int(last if dash else first) + 1
        if stop <= start:
            raise argparse.ArgumentTypeError(f"expected a range that ascends, found {part}")
        if len(found) + stop - start > _MAX_SEEDS:  # a mistyped range must not take all memory
            expected = f"at most {_MAX_SEEDS} seeds; for more images of one seed: --seed and -n"
            raise argparse.ArgumentTypeError(f"expected {expected}")
        found += range(start, stop)
    return found


def _labels(text: str) -> list[Label]:
    return [part.strip() for part in text.split(",")]
