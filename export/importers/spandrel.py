"""Export a super-resolution, restoration or inpainting network that spandrel recognises.

ESRGAN and its family, SwinIR, HAT, DAT, SCUNet, LaMa and many more: the library that ComfyUI and
chaiNNer load them with. Height and width are free.
"""

import argparse
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.arguments import (
    SizeRange,
    Wanted,
    add_size,
    artifact_name,
    chosen_sizes,
    free_axis,
)
from export.checksum import checksum
from export.modules.weights import read_tensors
from export.options import ExportOptions
from export.sources import Imported
from runtime.artifact.manifest import Axis, Provenance
from runtime.errors import ExportError
from runtime.images import ImageSpec
from runtime.machine import installed_version, to_install

if TYPE_CHECKING:
    from spandrel import Architecture, ModelDescriptor

_PREFIXES = (
    *("params_ema.", "params-ema.", "params.", "model_state_dict.", "state_dict.", "model."),
    "net.",
)
"""Names under which trainings keep a network's weights, the average of them first."""

logger = logging.getLogger(__name__)

_SMALLEST, _LARGEST = 16, 2048
# Comparing takes seconds a megapixel of output.
_DEFAULT_SIDE, _DEFAULT_ENLARGED_SIDE = 256, 128

_BATCHES = (1, 4)
"""Pictures are large, and of one request rarely of one size."""

_PADDING = ("downscale_factor", "pad_size", "padder_size", "shuffle_factor", "split_size")
_MULTIPLES = ("window_size", *_PADDING)
"""Attributes of spandrel's networks: they pad images to multiples of them."""
_OTHER_MULTIPLES = {"FBCNN": 8, "RealCUGAN": 4, "SCUNet": 64}
_ONE_SIZE = frozenset({"ATD", "GFPGAN", "IPT", "RestoreFormer"})
"""Architectures whose code takes the size for a number."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="the weights: .safetensors, or .pth")
    sides = f"default: {_DEFAULT_SIDE}, {_DEFAULT_ENLARGED_SIDE} where it enlarges"
    add_size(parser, sides, f"default: up to {_LARGEST}; MIN..MIN is one size alone")
    parser.add_argument("--name", help="of the artifact (default: that of the file)")
    parser.add_argument("--licence", default="not stated")


def load(args: argparse.Namespace) -> Imported:
    descriptor = load_descriptor(args.file)
    from export.families.restoration import restorer

    axes = _axes(args.size, descriptor)
    height, width = (axes[name].default for name in ("height", "width"))
    module = restorer(descriptor, axes["height"].min)
    free = {name: axis for name, axis in axes.items() if axis.min < axis.max}
    if not free:
        logger.info("height and width are fixed: %d x %d, by --size", height, width)
    options = ExportOptions(
        image=_image(descriptor, height, width),
        axes=free,
        takes_mask=module.is_masked,
        batches=_BATCHES,
        prior="none",
        name=args.name or artifact_name(args.file.stem),
        out=args.out,
        version=args.version,
        precisions=args.precisions,
        provenance=_provenance(descriptor, args.file),
        licence=args.licence,
        any_range=True,  # spandrel says which it is
    )
    return Imported(options, {"translate": module})


def load_descriptor(file: Path) -> "ModelDescriptor":
    """The network of a file as spandrel describes it; ExportError where spandrel does not know it,
    and where the file holds no weights, or others than its architecture has."""
    try:
        from export.torchvision_operators import declare_operators

        declare_operators()
        from spandrel import MAIN_REGISTRY
    except ModuleNotFoundError as error:
        raise ExportError(f"{error}: {to_install('spandrel')}") from error
    tensors = read_tensors(file)
    known = [support.architecture for support in MAIN_REGISTRY.architectures("detection")]
    for state in _states(tensors):
        for architecture in known:
            if architecture.detect(state):
                return _built(file, architecture, state)
    names = ", ".join(sorted(each.id for each in known))
    raise ExportError(
        f"{file}: expected the weights of an architecture that spandrel knows ({names}), found "
        f"others ({', '.join(list(tensors)[:3])}, ...): export the module itself with "
        "`python -m export module --translates`"
    )


def _states(tensors: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The tensors under their names, and without what trainings put before them."""
    from spandrel import canonicalize_state_dict

    yield canonicalize_state_dict(tensors)
    for prefix in _PREFIXES:
        inner = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        if inner:
            yield canonicalize_state_dict(inner)


def _built(
    file: Path, architecture: "Architecture[Any]", state: dict[str, Any]
) -> "ModelDescriptor":
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.meshgrid", UserWarning)
            return architecture.load(state)
    except Exception as error:  # spandrel reads the sizes of layers from keys that it expects
        raise ExportError(
            f"{file}: the weights do not fit {architecture.id}, for which spandrel takes them: "
            f"{_first_lines(error)}"
        ) from error


def _first_lines(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:2])[:500]}"


def _axes(wanted: Sequence[Wanted], descriptor: "ModelDescriptor") -> dict[str, Axis]:
    """Height and width: each from a smallest to a largest length; one length where both are."""
    needs, step = descriptor.size_requirements, _step(descriptor)
    given, default = chosen_sizes(wanted)
    one_size = needs.square or descriptor.architecture.id in _ONE_SIZE
    # Of a single unit, torch takes the count for a constant.
    units = 1 if one_size or step == 1 else 2
    low = _rounded(max(needs.minimum, _SMALLEST, units * step), step)
    allowed = given or SizeRange(low, _LARGEST // step * step)
    if one_size and allowed.min < allowed.max:
        raise ExportError(
            f"--size: expected one size, as {descriptor.architecture.id} takes no other than it is "
            f"exported with: --size {low}..{low}"
        )
    if allowed.min < needs.minimum:
        raise ExportError(
            f"--size: expected at least {needs.minimum}, the smallest picture that "
            f"{descriptor.architecture.id} takes, found {allowed.min}"
        )
    side = _DEFAULT_SIDE if descriptor.scale == 1 else _DEFAULT_ENLARGED_SIDE
    usual = max(allowed.min, min(allowed.max, _rounded(side, math.lcm(step, allowed.step))))
    lengths = zip(("height", "width"), default or (usual, usual), strict=True)
    return {n: free_axis(f"--size: {n}", allowed, length, step) for n, length in lengths}


def _rounded(length: int, step: int) -> int:
    return -(-length // step) * step


def _step(descriptor: "ModelDescriptor") -> int:
    """What lengths must be multiples of for the network not to pad images itself."""
    found = [descriptor.size_requirements.multiple_of]
    found.append(_OTHER_MULTIPLES.get(descriptor.architecture.id, 1))
    for name in _MULTIPLES:
        found += _integers(getattr(descriptor.model, name, None))
    return math.lcm(*found)


def _integers(value: Any) -> Iterator[int]:
    for each in value if isinstance(value, list | tuple) else [value]:
        if type(each) is int and each > 1:
            yield each


def _image(descriptor: "ModelDescriptor", height: int, width: int) -> ImageSpec:
    for channels in (descriptor.input_channels, descriptor.output_channels):
        if channels not in (1, 2, 3, 4):
            raise ExportError(
                f"{descriptor.architecture.id}: expected images of 1 to 4 channels, found "
                f"{channels}"
            )
    return ImageSpec.model_validate(
        {"height": height, "width": width, "channels": descriptor.input_channels}
        | {"value_range": (0.0, 1.0)}
    )


def _provenance(descriptor: "ModelDescriptor", file: Path) -> Provenance:
    details = {
        "architecture": descriptor.architecture.id,
        "purpose": descriptor.purpose,
        "tags": list(descriptor.tags),
        "scale": descriptor.scale,
        "weights": file.name,
        "weights SHA-256": checksum(file),
    }
    versions = {"spandrel": installed_version("spandrel") or "unknown"}
    source = f"spandrel {descriptor.architecture.name}"
    return Provenance(source=source, details=details, versions=versions)
