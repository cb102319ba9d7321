"""Export any torch module of your own.

It is found by its name, its weights come from a safetensors file; never a pickle.
"""

import argparse
import hashlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from export.arguments import axis, dims, image, json_object, names, shape, sizes
from export.causes import described_error
from export.options import ExportOptions, Imported
from export.weights import load_weights
from runtime.artifact.manifest import Axis, Provenance
from runtime.errors import ExportError

if TYPE_CHECKING:
    from torch import nn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "module",
        help="package.module:Class, latents -> images [B, C, H, W]; with --translates images -> "
        "images",
    )
    parser.add_argument("--translates", action="store_true", help="it takes images, not latents")
    parser.add_argument("--takes-mask", action="store_true", help="and a mask behind them")
    parser.add_argument("--takes-truncation", action="store_true", help="and a float a row")
    parser.add_argument(
        "--noise", type=dims, action="append", default=[], metavar="SHAPE", help="of a noise input"
    )
    parser.add_argument(
        "--axis",
        type=axis,
        action="append",
        default=[],
        metavar="NAME=MIN:MAX:MULTIPLE",
        help="a free axis, height=64:2048:8, its default that of --image; shapes refer to it: "
        "--latent 4xheight/8xwidth/8",
    )
    parser.add_argument("--prior", choices=("standard_normal", "none"), default="standard_normal")
    parser.add_argument("--name", required=True, help="of the artifact")
    parser.add_argument("--weights", type=Path, required=True, help="safetensors file")
    parser.add_argument("--params", type=json_object, default={}, help="its constructor's, as JSON")
    parser.add_argument("--latent", type=dims, default=(), help="128, or 4x8x8")
    parser.add_argument(
        "--image", type=shape, required=True, metavar="HEIGHTxWIDTHxCHANNELS", help="32x32x3"
    )
    parser.add_argument(
        "--value-range",
        type=float,
        nargs=2,
        default=(-1.0, 1.0),
        metavar=("LOW", "HIGH"),
        help="the module's floats that mean black and white (default: -1 1)",
    )
    parser.add_argument("--labels", type=names, help="class names by index: cat,dog")
    parser.add_argument(
        "--encoder",
        help="package.module:Class, images -> mean, log_variance; "
        "with --encoder-takes-noise images, noise -> latents, log_density",
    )
    parser.add_argument("--encoder-weights", type=Path, help="safetensors file")
    parser.add_argument("--encoder-params", type=json_object, default={})
    parser.add_argument("--encoder-takes-labels", action="store_true")
    parser.add_argument("--encoder-takes-noise", action="store_true")
    parser.add_argument("--batches", type=sizes, default=(1, 4, 16, 64), help="1,4,16,64")
    parser.add_argument("--licence", default="not stated")


def load(args: argparse.Namespace) -> Imported:
    files = {"weights": args.weights, "encoder weights": args.encoder_weights}
    graph = "translate" if args.translates else "decode"
    modules = {graph: load_module(args.module, args.params, args.weights)}
    if args.encoder:
        modules["encode"] = load_module(args.encoder, args.encoder_params, args.encoder_weights)
    details = {f"{key} SHA-256": checksum(path) for key, path in files.items() if path}
    options = ExportOptions(
        latent=args.latent,
        axes=_axes(args),
        noise=args.noise,
        takes_truncation=args.takes_truncation,
        takes_mask=args.takes_mask,
        prior=args.prior,
        image=image(args.image, args.value_range),
        labels=args.labels,
        encode_takes_labels=args.encoder_takes_labels,
        encode_takes_noise=args.encoder_takes_noise,
        name=args.name,
        out=args.out,
        version=args.version,
        batches=args.batches,
        precisions=args.precisions,
        provenance=Provenance(source=f"module {args.module}", details=details),
        licence=args.licence,
    )
    return Imported(options, modules)


def _axes(args: argparse.Namespace) -> dict[str, Axis]:
    defaults = dict(zip(("height", "width"), args.image, strict=False))
    axes: dict[str, Axis] = {}
    for name, (low, high, step) in args.axis:
        values = {"min": low, "max": high, "multiple_of": step, "default": defaults.get(name, low)}
        try:
            axes[name] = Axis.model_validate(values)
        except ValidationError as error:
            raise ExportError(f"--axis {name}: {error.errors()[0]['msg']}") from error
    return axes


def load_module(target: str, params: Mapping[str, Any], weights: Path | None) -> "nn.Module":
    """`package.module:Class` called with `params`, its weights replaced by those of the file.

    Raises ExportError where there is no such class, it cannot be built, or the file's weights do
    not fit it (`export.weights`).
    """
    from export.frozen import unwrapped

    module = _build(target, params)
    if weights is not None:
        load_weights(unwrapped(module), target, weights)
    return module


def checksum(weights: Path) -> str:
    """SHA-256 of a weights file, for the artifact's provenance."""
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def _build(target: str, params: Mapping[str, Any]) -> "nn.Module":
    from torch import nn

    path, _, attribute = target.partition(":")
    if not path or not attribute:
        raise ExportError(f"{target}: expected package.module:Class")
    try:
        factory = getattr(importlib.import_module(path), attribute)
    except (Exception, SystemExit) as error:  # whatever a user's file does when it is imported
        raise ExportError(f"{target}: cannot be imported: {described_error(error)}") from error
    try:
        module = factory(**params)
    except (Exception, SystemExit) as error:  # whatever a user's constructor raises
        raise ExportError(
            f"{target}: cannot be built with {dict(params)} (--params): {described_error(error)}"
        ) from error
    if not isinstance(module, nn.Module):
        raise ExportError(f"{target}: expected a torch.nn.Module, found {type(module).__name__}")
    return module
