"""Export a BigGAN-deep from a folder of its config and weights.

`sample` takes a label and a truncation: latents are normals within [-2, 2] times the truncation,
and the batch norms use the statistics of that truncation.
"""

import argparse
import json
from pathlib import Path
from types import SimpleNamespace

from export.arguments import sizes
from export.checksum import checksum
from export.modules.building import load_module
from export.options import ExportOptions
from export.sources import Imported
from runtime.artifact.manifest import Provenance
from runtime.errors import ExportError
from runtime.images import ImageSpec

_NETWORK = "pytorch_pretrained_biggan:BigGAN"
_CONFIG = "config.json"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_COUNTS = ("output_dim", "z_dim", "num_classes")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help=f"with {_CONFIG} and {' or '.join(_WEIGHTS)}")
    parser.add_argument(
        "--network",
        default=_NETWORK,
        help="package.module:Class, built with config= (default: %(default)s)",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="class names by index, one a line (default: the indices)",
    )
    parser.add_argument("--name", required=True, help="of the artifact")
    parser.add_argument("--batches", type=sizes, default=(1, 4, 16, 64), help="1,4,16,64")
    parser.add_argument("--licence", default="not stated")


def load(args: argparse.Namespace) -> Imported:
    from export.families.biggan import BigGAN

    config = _config(args.folder / _CONFIG)
    weights = next((args.folder / n for n in _WEIGHTS if (args.folder / n).is_file()), None)
    if weights is None:
        raise ExportError(f"{args.folder}: expected {' or '.join(_WEIGHTS)}, found neither")
    network = load_module(args.network, {"config": config}, weights)
    options = ExportOptions(
        name=args.name,
        out=args.out,
        version=args.version,
        image=ImageSpec(height=config.output_dim, width=config.output_dim, channels=3),
        latent=config.z_dim,
        labels=_labels(args.labels, config.num_classes),
        takes_truncation=True,
        prior="truncated_normal",
        batches=args.batches,
        precisions=args.precisions,
        provenance=Provenance(
            source=f"biggan {args.network}",
            details={"config": vars(config), "weights SHA-256": checksum(weights)},
        ),
        licence=args.licence,
    )
    return Imported(options, {"decode": BigGAN(network)})


def _config(path: Path) -> SimpleNamespace:
    try:
        config = SimpleNamespace(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ExportError(f"{path}: expected the network's config as JSON ({error})") from error
    for name in _COUNTS:
        value = getattr(config, name, None)
        if not isinstance(value, int) or value < 1:
            raise ExportError(f"{path}: {name}: expected a number from 1 on, found {value!r}")
    return config


def _labels(path: Path | None, classes: int) -> list[str]:
    if path is None:
        return [str(index) for index in range(classes)]
    try:
        names = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"--labels: expected a text file, found {path} ({error})") from error
    if len(names) != classes:
        raise ExportError(f"--labels: {path}: expected {classes} lines, found {len(names)}")
    return names
