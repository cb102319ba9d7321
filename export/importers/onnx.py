"""Export an ONNX file of your own, whatever wrote it: Keras, JAX, PyTorch, a colleague.

It is wrapped to the inputs and outputs of an artifact and compared with the file as ONNX Runtime
runs it. Needs no torch.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.arguments import axes, axis, dims, image, names, shape, sizes
from export.options import ExportOptions, Imported
from runtime.artifact.manifest import Provenance
from runtime.artifact.size import Dim, Size, axes_of, evaluate
from runtime.errors import ExportError

if TYPE_CHECKING:
    from export.onnx_file import OnnxFile
    from export.onnx_source import Meaning, OnnxSource


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        type=Path,
        nargs="?",
        help="ONNX file, latents -> images; with --translates images -> images",
    )
    parser.add_argument("--translates", action="store_true", help="it takes images, not latents")
    parser.add_argument(
        "--encoder", type=Path, help="ONNX file, images -> mean, log_variance, or -> latents"
    )
    parser.add_argument("--name", required=True, help="of the artifact")
    parser.add_argument(
        "--output",
        action="append",
        default=[],
        metavar="NAME",
        help="an output to keep, where a file has more than are meant; several in order",
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
    parser.add_argument("--labels", type=names, help="class names by index: cat,dog")
    parser.add_argument(
        "--latent", type=dims, default=(), help="128, or 4x8x8, where the file leaves it open"
    )
    parser.add_argument(
        "--image",
        type=shape,
        metavar="HEIGHTxWIDTHxCHANNELS",
        help="32x32x3, where the file leaves it open",
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
    parser.add_argument("--batches", type=sizes, default=(1, 4, 16, 64), help="1,4,16,64")
    parser.add_argument("--licence", default="not stated")


def load(args: argparse.Namespace) -> Imported:
    from export.onnx_file import OnnxFile
    from export.onnx_source import OnnxSource

    paths = {"translate" if args.translates else "decode": args.file, "encode": args.encoder}
    files = {graph: OnnxFile(path, args.output) for graph, path in paths.items() if path}
    if not files:
        raise ExportError("expected an ONNX file, or --encoder with one, found neither")
    _check_names(args, files)
    free = axes(args.axis, args.image or ())
    size = tuple((name, axis.default) for name, axis in free.items())
    _check_axes(args, free)
    low, high = args.value_range or ((0.0, 1.0) if args.mean else (-1.0, 1.0))
    stated = image(args.image, (low, high)) if args.image else None
    meaning = _meaning(args, size, (low, high))
    sources = {
        graph: OnnxSource(
            graph,
            file,
            meaning,
            latent=evaluate(args.latent, size) or None,
            image=stated and (stated.height, stated.width, stated.channels),
        )
        for graph, file in files.items()
    }
    first = next(iter(sources.values()))
    latents = (source.latent for source in sources.values())
    encoder = sources.get("encode")
    options = ExportOptions(
        latent=args.latent or next((row for row in latents if row), ()),
        axes=free,
        noise=_noises(args, first) if "encode" not in sources or len(sources) > 1 else (),
        takes_truncation=args.truncation is not None,
        takes_mask=args.mask is not None,
        prior=args.prior,
        image=stated or image(first.image, (low, high)),
        labels=args.labels,
        encode_takes_labels=encoder is not None and bool(encoder.rows_of("labels")),
        encode_takes_noise=encoder is not None and bool(encoder.rows_of("noise")),
        encode_gives=tuple(b.role for b in encoder.outputs)
        if encoder
        else ("mean", "log_variance"),
        codes=encoder.codes if encoder else (),
        name=args.name,
        out=args.out,
        version=args.version,
        batches=args.batches,
        precisions=args.precisions,
        provenance=_provenance(first.description, files),
        licence=args.licence,
    )
    return Imported(options, sources)


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
    """Every name is one of some file."""
    given = [(name, "inputs") for name in (args.mask, args.truncation) if name]
    given += [(name, "inputs") for name, _ in args.noise]
    given += [(name, "outputs") for name in args.output]
    for name, side in given:
        found = [port.name for file in files.values() for port in getattr(file, side)]
        if name not in found:
            raise ExportError(f"{name!r}: expected one of the {side} {found}, found none of them")


def _meaning(args: argparse.Namespace, size: Size, value_range: tuple[float, float]) -> "Meaning":
    from export.onnx_source import Meaning

    for flag, values in (("--mean", args.mean), ("--std", args.std)):
        if len(values) != len(args.mean) or 0.0 in args.std:
            raise ExportError(
                f"{flag}: expected as many numbers as channels for --mean and for --std, none of "
                f"the latter 0, found {list(values)}"
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
        sizes={name: evaluate(row, size) for name, row in args.noise if row is not None},
    )


def _noises(args: argparse.Namespace, source: "OnnxSource") -> list[tuple[Dim, ...]]:
    stated = dict(args.noise)
    return [stated[name] or row for name, row in source.rows_of("noise").items()]


def _provenance(source: str, files: "Mapping[str, OnnxFile]") -> Provenance:
    from export.importers.module import checksum

    details: dict[str, Any] = {}
    for graph, file in files.items():
        details[f"{graph} file"] = file.path.name
        details[f"{graph} SHA-256"] = checksum(file.path)
        details[f"{graph} written by"] = file.producer
        details[f"{graph} opset"] = file.opset
    return Provenance(source=source, details=details)
