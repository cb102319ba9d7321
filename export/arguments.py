"""Types of command-line arguments; argparse reports the errors that they raise."""

import argparse
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from runtime.artifact.manifest import REDUCED, Axis, Reduced
from runtime.artifact.size import Dim, parse
from runtime.errors import ExportError
from runtime.images import ImageSpec


def precisions(text: str) -> tuple[Reduced, ...] | Literal["auto"]:
    if text == "auto":
        return "auto"
    names = [] if text == "none" else [name.strip() for name in text.split(",")]
    if not set(names) <= set(REDUCED):
        raise argparse.ArgumentTypeError(f"expected auto, fp16, bf16, both or none, found {text!r}")
    found: tuple[Reduced, ...] = tuple(p for p in REDUCED if p in names)
    return found


def shape(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+(x\d+)*", text):
        raise argparse.ArgumentTypeError(f"expected 128 or 4x8x8, found {text!r}")
    return tuple(int(axis) for axis in text.split("x"))


def dims(text: str) -> tuple[Dim, ...]:
    """128, 4x8x8, or axes by name: 4xheight/8xwidth/8."""
    found: list[Dim] = []
    for part in text.split("x"):
        dim = part.replace("/", " / ").replace("*", " * ")
        if dim.isdecimal():
            found.append(int(dim))
            continue
        try:
            parse(dim)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"expected 128 or 4x8x8, found {text!r}") from error
        found.append(dim)
    return tuple(found)


@dataclass(frozen=True)
class SizeRange:
    """The lengths of an axis that a request may choose: multiples of `step`."""

    min: int
    max: int
    step: int = 1


Wanted = tuple[int, int] | SizeRange
"""What one --size says: a height and a width, or the range of both."""


def size(text: str) -> Wanted:
    """512x768 (height x width), or a range: 256..1024, or 256..1024/8 in multiples of 8."""
    if match := re.fullmatch(r"(\d+)x(\d+)", text):
        return int(match[1]), int(match[2])
    if match := re.fullmatch(r"(\d+)\.\.(\d+)(?:/([1-9]\d*))?", text):
        return SizeRange(int(match[1]), int(match[2]), int(match[3] or 1))
    expected = "512x768 (height x width), 256..1024 or 256..1024/8"
    raise argparse.ArgumentTypeError(f"expected {expected}, found {text!r}")


def add_size(parser: argparse.ArgumentParser, default: str, allowed: str) -> None:
    """--size; in words, the default and what a request may choose where nothing else is said."""
    parser.add_argument(
        "--size",
        type=size,
        action="append",
        default=[],
        metavar="HEIGHTxWIDTH|MIN..MAX/STEP",
        help=f"512x768, the size of images unless a request chooses ({default}), or 256..1024/8, "
        f"the heights and widths that it may choose ({allowed}); or both, each with its --size",
    )


def chosen_sizes(wanted: Sequence[Wanted]) -> tuple[SizeRange | None, tuple[int, int] | None]:
    """The range and the default among what `size` read, at most one of each."""
    ranges = [each for each in wanted if isinstance(each, SizeRange)]
    defaults = [each for each in wanted if not isinstance(each, SizeRange)]
    if len(ranges) > 1 or len(defaults) > 1:
        raise ExportError("--size: expected one default, HEIGHTxWIDTH, and one range, MIN..MAX")
    return (ranges or [None])[0], (defaults or [None])[0]


def artifact_name(text: str) -> str:
    """The name of a model or a file as that of an artifact."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def free_axis(what: str, allowed: SizeRange, default: int, step: int = 1) -> Axis:
    """An axis within a range, in multiples of `step` too; ExportError, naming `what`, where its
    ends or its default are none."""
    values = {"min": allowed.min, "max": allowed.max, "default": default}
    try:
        return Axis.model_validate(values | {"multiple_of": math.lcm(step, allowed.step)})
    except ValidationError as error:
        raise ExportError(f"{what}: {error.errors()[0]['msg']}") from error


def axis(text: str) -> tuple[str, SizeRange]:
    """height=64:2048:8"""
    match = re.fullmatch(r"([a-z][a-z_]*)=(\d+):(\d+):(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected height=64:2048:8, found {text!r}")
    name, low, high, step = match.groups()
    return name, SizeRange(int(low), int(high), int(step))


def axes(
    given: Sequence[tuple[str, SizeRange]], image: Sequence[int], wanted: Sequence[Wanted]
) -> dict[str, Axis]:
    """The free axes that --axis says, or --size for height and width; the defaults of these are
    those of --size or, without one, of the image."""
    allowed, default = chosen_sizes(wanted)
    sides = ("height", "width")
    defaults: dict[str, int] = dict(zip(sides, default or image, strict=False))
    ranges = {name: (f"--axis {name}", found) for name, found in given}
    if allowed is not None:
        if ranges.keys() & set(sides):
            raise ExportError("--size: expected it without --axis height or width, found both")
        ranges |= {name: (f"--size: {name}", allowed) for name in sides}
    return {
        name: free_axis(what, found, defaults.get(name, found.min))
        for name, (what, found) in ranges.items()
    }


def image_shape(stated: Sequence[int], wanted: Sequence[Wanted]) -> tuple[int, ...]:
    """The height, width and channels of --image, the first two those of --size if it says any;
    nothing where there is no --image."""
    allowed, default = chosen_sizes(wanted)
    if default is None or not stated:
        if default is not None and allowed is None:
            raise ExportError("--size: expected --image beside a size, or a range, MIN..MAX")
        return tuple(stated)
    return (*default, *stated[2:])


def image(shape: tuple[int, ...], value_range: Sequence[float]) -> ImageSpec:
    fields = dict(zip(("height", "width", "channels"), shape, strict=False))
    try:
        return ImageSpec.model_validate({**fields, "value_range": tuple(value_range)})
    except ValidationError as error:
        first = error.errors()[0]
        raise ExportError(
            f"--image, --value-range: {first['loc'][0]}: {first['msg']}, found "
            f"{'x'.join(map(str, shape))} in {list(value_range)}"
        ) from error


def figures(path: str) -> dict[str, float]:
    try:
        figures = json.loads(Path(path).read_text("utf-8"))["figures"]
        return {str(name): float(value) for name, value in figures.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise argparse.ArgumentTypeError(
            f"expected a JSON file with numbers under 'figures', found {path} ({error})"
        ) from error


def png(path: str) -> bytes:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"expected a PNG file, found {path} ({error})") from error
    if not data.startswith(b"\x89PNG"):
        raise argparse.ArgumentTypeError(f"expected a PNG file, found something else in {path}")
    return data


def names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def sizes(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", text):
        raise argparse.ArgumentTypeError(f"expected 1,4,16,64, found {text!r}")
    return tuple(int(size) for size in text.split(","))


def sizes3(text: str) -> tuple[int, ...]:
    """SMALLEST,BEST,LARGEST, ascending."""
    found = sizes(text)
    if len(found) != 3 or not 1 <= found[0] <= found[1] <= found[2]:
        raise argparse.ArgumentTypeError(f"expected three ascending sizes, found {text!r}")
    return found


def capability(text: str) -> tuple[int, int]:
    """A compute capability, 8.9."""
    if not re.fullmatch(r"\d+\.\d", text):
        raise argparse.ArgumentTypeError(f"expected one such as 8.9, found {text!r}")
    major, minor = text.split(".")
    return int(major), int(minor)


def json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"expected a JSON object: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"expected a JSON object, found {text!r}")
    return value


def add_measured(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--figures", type=figures, help="JSON of `python -m benchmarks quality --json`, to state"
    )
    parser.add_argument(
        "--neighbours", type=png, help="PNG of `python -m benchmarks quality --out`, to show"
    )


def add_value_range(parser: argparse.ArgumentParser, whose: str) -> None:
    parser.add_argument(
        "--value-range",
        type=float,
        nargs=2,
        default=(-1.0, 1.0),
        metavar=("LOW", "HIGH"),
        help=f"{whose} floats that mean black and white (default: -1 1)",
    )


def add_network(parser: argparse.ArgumentParser, *, image_known: bool) -> None:
    """What is said of any network; `image_known`: the images' shape may be known without it."""
    add = parser.add_argument
    add("--translates", action="store_true", help="it takes images, not latents")
    add("--name", required=True, help="of the artifact")
    add("--latent", type=dims, default=(), help="128, or 4x8x8")
    metavar = "HEIGHTxWIDTHxCHANNELS"
    add("--image", type=shape, required=not image_known, metavar=metavar, help="32x32x3")
    add_size(parser, "default: that of --image", "default: no other")
    add(
        "--axis",
        type=axis,
        action="append",
        default=[],
        metavar="NAME=MIN:MAX:MULTIPLE",
        help="one free axis, height=64:2048:8, its default that of --image; shapes refer to it: "
        "--latent 4xheight/8xwidth/8",
    )
    add("--any-range", action="store_true", help="do not look whether images are in --value-range")
    add("--labels", type=names, help="class names by index: cat,dog")
    priors = ("standard_normal", "truncated_normal", "none")
    add("--prior", choices=priors, default=priors[0], help="what latents are drawn from")
    add("--batches", type=sizes, default=(1, 4, 16, 64), help="1,4,16,64")
    add("--licence", default="not stated")


def add_precisions(
    parser: argparse.ArgumentParser, default: Sequence[Reduced] | Literal["auto"] = "auto"
) -> None:
    parser.add_argument(
        "--precisions",
        type=precisions,
        default=default,
        help="tried beside fp32: fp16,bf16, none, or auto: both where there is a GPU"
        + (" (default)" if default == "auto" else "; default: both"),
    )
