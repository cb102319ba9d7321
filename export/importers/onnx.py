"""Export an ONNX file of your own, whatever wrote it: Keras, JAX, PyTorch, a colleague.

It is wrapped to the inputs and outputs of an artifact and compared with the file as ONNX Runtime
runs it. Needs no torch.
"""

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.arguments import add_network, axes, dims, image, image_shape, names
from export.checksum import checksum
from export.options import ExportOptions
from export.sources import Imported
from runtime.artifact.manifest import Provenance
from runtime.artifact.size import Dim, Size, axes_of, evaluate
from runtime.errors import ExportError
from runtime.images import ImageSpec

if TYPE_CHECKING:
    from export.onnx_files.binding import Meaning
    from export.onnx_files.file import OnnxFile
    from export.onnx_files.source import OnnxSource


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        type=Path,
        nargs="?",
        help="ONNX file, latents -> images; with --translates images -> images",
    )
    add_network(parser, image_known=True)
    parser.add_argument(
        "--encoder", type=Path, help="ONNX file, images -> mean, log_variance, or -> latents"
    )
    parser.add_argument(
        "--output", type=names, default=(), metavar="NAME", help="which of its outputs is meant"
    )
    parser.add_argument(
        "--encoder-output",
        type=names,
        default=(),
        metavar="NAMES",
        help="which of the encoder's outputs: mean,logvar",
    )
    parser.add_argument(
        "--layout", choices=("nchw", "nhwc"), help="of images, where the shapes do not say"
    )
    parser.add_argument(
        "--value-range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="the file's floats that mean black and white (default: -1 1; with --mean 0 1)",
    )
    parser.add_argument(
        "--mean",
        type=float,
        nargs="+",
        default=(),
        help="of images that the file takes normalised, one a channel, in the value range",
    )
    parser.add_argument(
        "--std", type=float, nargs="+", default=(), help="their deviation, one a channel"
    )
    parser.add_argument("--mask", metavar="NAME", help="the input that takes a mask")
    parser.add_argument("--truncation", metavar="NAME", help="the input that takes a float a row")
    parser.add_argument(
        "--noise",
        type=_noise,
        action="append",
        default=[],
        metavar="NAME[=SHAPE]",
        help="an input that takes noise; its shape where the file leaves it open",
    )


def load(args: argparse.Namespace) -> Imported:
    from export.onnx_files.file import OnnxFile
    from export.onnx_files.source import OnnxSource

    graph = "translate" if args.translates else "decode"
    given = {graph: (args.file, args.output), "encode": (args.encoder, args.encoder_output)}
    files = {graph: OnnxFile(path, chosen) for graph, (path, chosen) in given.items() if path}
    if not files:
        raise ExportError("expected an ONNX file, or --encoder with one, found neither")
    _check_names(args, files)
    shape = image_shape(args.image or (), args.size)
    free = axes(args.axis, shape, args.size)
    _check_axes(args, free)
    low, high = args.value_range or ((0.0, 1.0) if args.mean else (-1.0, 1.0))
    stated = image(shape, (low, high)) if shape else None
    size = tuple((name, axis.default) for name, axis in free.items())
    meaning = _meaning(args, size, (low, high), stated)
    sources = {graph: OnnxSource(graph, file, meaning) for graph, file in files.items()}
    first, encoder = next(iter(sources.values())), sources.get("encode")
    latents = (row for s in sources.values() for row in s.rows("latents", "mean").values())
    noise = {} if first is encoder else first.rows("noise")
    stated_noise = dict(args.noise)
    options = ExportOptions(
        latent=args.latent or next(latents, ()),
        axes=free,
        noise=[stated_noise[name] or row for name, row in noise.items()],
        takes_truncation=args.truncation is not None,
        takes_mask=args.mask is not None,
        prior=args.prior,
        image=stated or image(first.image, (low, high)),
        any_range=args.any_range,
        labels=args.labels,
        name=args.name,
        out=args.out,
        version=args.version,
        batches=args.batches,
        precisions=args.precisions,
        provenance=_provenance(first.description, files),
        licence=args.licence,
        **_encoder_options(encoder),
    )
    return Imported(options, sources)


def _encoder_options(encoder: "OnnxSource | None") -> dict[str, Any]:
    if encoder is None:
        return {}
    return {
        "encode_takes_labels": bool(encoder.rows("labels")),
        "encode_takes_noise": bool(encoder.rows("noise")),
        "encode_gives": tuple(bound.role for bound in encoder.outputs),
        "codes": next(iter(encoder.rows("codes").values()), ()),
    }


def _noise(text: str) -> tuple[str, tuple[Dim, ...] | None]:
    """NAME, or NAME=1x8x8."""
    name, stated, row = text.partition("=")
    return name, dims(row) if stated else None


def _check_axes(args: argparse.Namespace, free: Mapping[str, object]) -> None:
    for stated in (args.latent, *(row for _, row in args.noise if row is not None)):
        for name in axes_of(stated):
            if name not in free:
                raise ExportError(f"{name}: expected --axis {name}=MIN:MAX:MULTIPLE beside it")


def _check_names(args: argparse.Namespace, files: "Mapping[str, OnnxFile]") -> None:
    """Every name is that of an input of some file."""
    found = [port.name for file in files.values() for port in file.inputs]
    for name in (args.mask, args.truncation, *(name for name, _ in args.noise)):
        if name is not None and name not in found:
            raise ExportError(f"{name!r}: expected one of the inputs {found}, found none of them")


def _meaning(
    args: argparse.Namespace,
    size: Size,
    value_range: tuple[float, float],
    stated: ImageSpec | None,
) -> "Meaning":
    from export.onnx_files.binding import Meaning

    usable = all(map(math.isfinite, (*args.mean, *args.std))) and all(s > 0.0 for s in args.std)
    if len(args.std) != len(args.mean) or not usable:
        raise ExportError(
            "--mean, --std: expected a number a channel for both, those of --std above 0, found "
            f"{list(args.mean)} and {list(args.std)}"
        )
    return Meaning(
        layout=args.layout,
        value_range=value_range,
        mean=args.mean,
        std=args.std,
        labels=args.labels is not None,
        mask=args.mask,
        truncation=args.truncation,
        noise=[name for name, _ in args.noise],
        latent=evaluate(args.latent, size) or None,
        image=stated and stated.shape,
        rows={name: evaluate(row, size) for name, row in args.noise if row is not None},
    )


def _provenance(source: str, files: "Mapping[str, OnnxFile]") -> Provenance:
    details: dict[str, Any] = {}
    for graph, file in files.items():
        details[f"{graph} file"] = file.path.name
        details[f"{graph} SHA-256"] = checksum(file.path)
        details[f"{graph} written by"] = file.producer
        details[f"{graph} opset"] = file.opset
    return Provenance(source=source, details=details)
