"""Export any torch module of your own.

It is found by its name, its weights come from a safetensors file; never a pickle.
"""

import argparse
import hashlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.arguments import image, json_object, names, shape, sizes
from export.options import ExportOptions, Imported
from runtime.artifact.manifest import Provenance
from runtime.errors import ExportError

if TYPE_CHECKING:
    from torch import nn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("decoder", help="package.module:Class, latents -> images [B, C, H, W]")
    parser.add_argument("--name", required=True, help="of the artifact")
    parser.add_argument("--weights", type=Path, required=True, help="safetensors file")
    parser.add_argument("--params", type=json_object, default={}, help="its constructor's, as JSON")
    parser.add_argument("--latent", type=shape, required=True, help="128, or 4x8x8")
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
    decode = load_module(args.decoder, args.params, args.weights)
    encode = None
    if args.encoder:
        encode = load_module(args.encoder, args.encoder_params, args.encoder_weights)
    details = {f"{key} SHA-256": checksum(path) for key, path in files.items() if path}
    options = ExportOptions(
        latent=args.latent,
        image=image(args.image, args.value_range),
        labels=args.labels,
        encode_takes_labels=args.encoder_takes_labels,
        encode_takes_noise=args.encoder_takes_noise,
        name=args.name,
        out=args.out,
        version=args.version,
        batches=args.batches,
        precisions=args.precisions,
        provenance=Provenance(source=f"module {args.decoder}", details=details),
        licence=args.licence,
    )
    return Imported(options, decode, encode)


def load_module(target: str, params: Mapping[str, Any], weights: Path | None) -> "nn.Module":
    """`package.module:Class` called with `params`, its weights replaced by those of the file.

    Raises ExportError where there is no such class, it cannot be built, or the file's names or
    shapes are not those of the module.
    """
    module = _build(target, params)
    if weights is not None:
        _load_weights(module, target, weights)
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
    except (ImportError, AttributeError) as error:
        raise ExportError(f"{target}: cannot be imported: {error}") from error
    try:
        module = factory(**params)
    except Exception as error:  # whatever a user's constructor raises
        raise ExportError(
            f"{target}: cannot be built with {dict(params)} (--params): "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(module, nn.Module):
        raise ExportError(f"{target}: expected a torch.nn.Module, found {type(module).__name__}")
    return module


def _load_weights(module: "nn.Module", target: str, weights: Path) -> None:
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_model

    if not weights.is_file():
        raise ExportError(f"{weights}: expected a safetensors file, found none")
    try:
        with safe_open(weights, framework="pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ExportError(
            f"{weights}: expected a safetensors file, found something else ({error}): write one "
            "with safetensors.torch.save_model(module, path)"
        ) from error
    state = module.state_dict()
    differing = [
        f"{name} {shape} (expected {list(state[name].shape)})"
        for name, shape in shapes.items()
        if name in state and list(state[name].shape) != shape
    ]
    missing, unexpected = [], []
    if not differing:
        missing, unexpected = load_model(module, weights, strict=False)
    if differing or missing or unexpected:
        raise ExportError(
            f"{weights}: the weights do not fit {target}: missing {sorted(missing)}, "
            f"unexpected {sorted(unexpected)}, of other shapes {differing}: check the class and "
            "--params"
        )
