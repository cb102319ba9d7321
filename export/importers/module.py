"""Export any torch module of your own.

A class or a function that builds it is found by its name; its weights come from a safetensors file,
or from a checkpoint of `torch.save`, of which only tensors are read.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from export.arguments import (
    add_network,
    add_value_range,
    axes,
    dims,
    image,
    image_shape,
    json_object,
    names,
)
from export.checksum import checksum
from export.modules.building import load_module
from export.options import ExportOptions
from export.sources import Imported
from runtime.artifact.manifest import Provenance

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "module",
        help="package.module:Class, or a function that returns the module: latents -> images "
        "[B, C, H, W]; with --translates images -> images",
    )
    parser.add_argument(
        "--output",
        type=names,
        metavar="NAME",
        help="which of its outputs is meant: sample of a dict or a dataclass, 0 of a tuple",
    )
    add_network(parser, image_known=False)
    parser.add_argument("--takes-mask", action="store_true", help="and a mask behind them")
    parser.add_argument("--takes-truncation", action="store_true", help="and a float a row")
    parser.add_argument(
        "--noise", type=dims, action="append", default=[], metavar="SHAPE", help="of a noise input"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        help="safetensors file, the index of shards, or a file of torch.save (.pth)",
    )
    parser.add_argument("--params", type=json_object, default={}, help="its arguments, as JSON")
    add_value_range(parser, "the module's")
    parser.add_argument(
        "--encoder",
        help="package.module:Class, images -> mean, log_variance; "
        "with --encoder-takes-noise images, noise -> latents, log_density",
    )
    parser.add_argument(
        "--encoder-output", type=names, metavar="NAMES", help="which of its outputs: mean,logvar"
    )
    parser.add_argument(
        "--encoder-gives",
        type=names,
        default=("mean", "log_variance"),
        help="what these are: mean,log_variance (default), latents or latents,codes",
    )
    parser.add_argument("--codes", type=dims, default=(), help="the shape of its codes: 8x8")
    parser.add_argument("--encoder-weights", type=Path, help="as --weights")
    parser.add_argument("--encoder-params", type=json_object, default={})
    parser.add_argument("--encoder-takes-labels", action="store_true")
    parser.add_argument("--encoder-takes-noise", action="store_true")


def load(args: argparse.Namespace) -> Imported:
    files = {"weights": args.weights, "encoder weights": args.encoder_weights}
    graph = "translate" if args.translates else "decode"
    modules = {graph: _chosen(load_module(args.module, args.params, args.weights), args.output)}
    if args.encoder:
        encoder = load_module(args.encoder, args.encoder_params, args.encoder_weights)
        modules["encode"] = _chosen(encoder, args.encoder_output)
    if args.weights is None:
        logger.warning("%s: no --weights: exported with those it was built with", args.module)
    shape = image_shape(args.image, args.size)
    details = {f"{key} SHA-256": checksum(path) for key, path in files.items() if path}
    options = ExportOptions(
        latent=args.latent,
        axes=axes(args.axis, shape, args.size),
        noise=args.noise,
        takes_truncation=args.takes_truncation,
        takes_mask=args.takes_mask,
        prior=args.prior,
        image=image(shape, args.value_range),
        labels=args.labels,
        encode_takes_labels=args.encoder_takes_labels,
        encode_takes_noise=args.encoder_takes_noise,
        encode_gives=args.encoder_gives,
        codes=args.codes,
        any_range=args.any_range,
        name=args.name,
        out=args.out,
        version=args.version,
        batches=args.batches,
        precisions=args.precisions,
        provenance=Provenance(source=f"module {args.module}", details=details),
        licence=args.licence,
    )
    return Imported(options, modules)


def _chosen(module: "nn.Module", outputs: Sequence[str] | None) -> "nn.Module":
    if outputs is None:
        return module
    from export.modules.outputs import Chosen

    return Chosen(module, outputs)
