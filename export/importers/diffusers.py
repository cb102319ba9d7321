"""Export an autoencoder of diffusers: AutoencoderKL, AutoencoderTiny or VQModel.

The latents outside are those that diffusers' pipelines exchange: scaled and shifted by the
config's factors, inside the graphs. Height and width are free.
"""

import argparse
import inspect
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from export.arguments import (
    SizeRange,
    Wanted,
    add_size,
    artifact_name,
    chosen_sizes,
    free_axis,
    image,
)
from export.causes import described_error
from export.checksum import checksum
from export.hub import ModelFolder, model_folder
from export.modules.weights import load_weights
from export.options import ExportOptions
from export.sources import Imported
from runtime.artifact.manifest import Axis, Provenance
from runtime.artifact.size import Dim
from runtime.errors import ExportError
from runtime.machine import to_install

if TYPE_CHECKING:
    from export.families.autoencoders import Autoencoder

_DEFAULT = (512, 512)
_MIN_LATENT, _MAX = 8, 2048

# What diffusers called the layers of attention until 0.15: many published weights still do.
_OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_NAME = re.compile(rf"(\.attentions\.\d+\.)({'|'.join(_OLD)})\.")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        help="a folder with config.json and safetensors, as save_pretrained writes it, or the id "
        "of a repository on the Hugging Face hub",
    )
    parser.add_argument("--subfolder", help="of PATH, where a pipeline has its autoencoder: vae")
    allowed = f"default: from {_MIN_LATENT} latents to {_MAX} pixels"
    add_size(parser, "default: {}x{}".format(*_DEFAULT), allowed)
    parser.add_argument("--name", help="of the artifact (default: that of the model)")


def load(args: argparse.Namespace) -> Imported:
    try:
        from export.torchvision_operators import declare_operators

        declare_operators()
        from export.families.autoencoders import CLASSES, halves, latent_channels, scale_of
    except ModuleNotFoundError as error:
        raise ExportError(f"{error}: {to_install('diffusers')}") from error
    folder = model_folder(args.path, args.subfolder, CLASSES)
    model = _build(folder, CLASSES[folder.kind])
    decoder, encoder, gives = halves(model)
    sides: list[Dim] = [_dim(name, model) for name in ("height", "width")]
    axes = _axes(args.size, model)
    scale = scale_of(model).details()
    options = ExportOptions(
        latent=(latent_channels(model), *sides),
        codes=sides if "codes" in gives else (),
        encode_gives=gives,
        axes=axes,
        prior="none",
        image=image((axes["height"].default, axes["width"].default, _channels(model)), (-1.0, 1.0)),
        any_range=True,  # that of all of them, whatever a random latent gives
        name=args.name or artifact_name(folder.model.rpartition("/")[2]),
        out=args.out,
        version=args.version,
        precisions=args.precisions,
        provenance=_provenance(folder, scale),
        licence=folder.licence,
    )
    return Imported(options, {"decode": decoder, "encode": encoder})


def _build(folder: ModelFolder, kind: "type[Autoencoder]") -> "Autoencoder":
    """The network with its weights, in float32: those in fp16 and bf16 are converted exactly."""
    known = inspect.signature(kind.__init__).parameters
    config = {name: value for name, value in folder.config.items() if name in known}
    try:
        model = cast("Autoencoder", kind.from_config(config))
    except Exception as error:  # whatever a constructor raises for values that it does not expect
        raise ExportError(
            f"{folder.weights.with_name('config.json')}: {folder.kind} cannot be built: "
            f"{described_error(error)}"
        ) from error
    _channels(model)
    load_weights(model, folder.kind, folder.weights, renamed=_renamed)
    return model


def _renamed(name: str) -> str:
    return _OLD_NAME.sub(lambda match: f"{match[1]}{_OLD[match[2]]}.", name)


def _channels(model: "Autoencoder") -> int:
    given, made = model.config["in_channels"], model.config["out_channels"]
    if given != made or given not in (1, 2, 3, 4):
        raise ExportError(
            "config.json: in_channels, out_channels: expected the same number of 1 to 4, found "
            f"{given} and {made}"
        )
    return given


def _axes(wanted: Sequence[Wanted], model: "Autoencoder") -> dict[str, Axis]:
    from export.families.autoencoders import downscaling

    step = downscaling(model)
    given, default = chosen_sizes(wanted)
    allowed = given or SizeRange(_MIN_LATENT * step, _MAX)
    axes: dict[str, Axis] = {}
    for name, length in zip(("height", "width"), default or _DEFAULT, strict=True):
        if default is None:  # the nearest in the range
            steps = math.lcm(step, allowed.step)
            length = max(allowed.min, min(allowed.max, length // steps * steps))
        axes[name] = free_axis(f"--size: {name}", allowed, length, step)
    return axes


def _dim(axis: str, model: "Autoencoder") -> Dim:
    from export.families.autoencoders import downscaling

    step = downscaling(model)
    return axis if step == 1 else f"{axis} / {step}"


def _provenance(folder: ModelFolder, scale: Mapping[str, Any]) -> Provenance:
    from runtime.machine import installed_version

    details = {**scale, "weights": folder.weights.name, "weights SHA-256": checksum(folder.weights)}
    versions = {"diffusers": installed_version("diffusers") or "unknown"}
    source = f"diffusers {folder.kind} {folder.model}"
    return Provenance(source=source, details=details, versions=versions)
