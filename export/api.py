"""`export`: any torch module that maps latents to images becomes an artifact."""

from collections.abc import Sequence
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING

from pydantic import ValidationError

from export.write import choose_version, write
from runtime.artifact.manifest import (
    REDUCED,
    GraphSpec,
    LatentSpec,
    Manifest,
    Provenance,
    Reduced,
    border,
    check_name,
)
from runtime.errors import ExportError
from runtime.images import ImageSpec
from runtime.machine import installed_version

if TYPE_CHECKING:  # importing torch takes seconds: only an export pays for it
    from torch import nn

_LIBRARIES = ("latentserve", "torch", "onnx", "onnxscript", "onnxruntime", "numpy")
_NOT_HASHED_YET = "0" * 64


def export(
    *,
    decode: "nn.Module",
    encode: "nn.Module | None" = None,
    latent: int | Sequence[int],
    image: ImageSpec,
    labels: Sequence[str] | None = None,
    name: str,
    out: str | Path = "artifacts",
    version: int | None = None,
    kind: str = "custom",
    encode_takes_labels: bool = False,
    encode_takes_noise: bool = False,
    batches: Sequence[int] = (1, 4, 16, 64),
    precisions: Sequence[Reduced] = REDUCED,
    provenance: Provenance | None = None,
    licence: str = "not stated",
    neighbours: bytes | None = None,
) -> Path:
    """Write the artifact `out/name/version` and return its folder.

    `decode` maps latents float32 [B, *latent], with `labels` also class indices int64 [B], to
    images float [B, C, H, W] in `image.value_range`. `encode` maps such images (and class
    indices, where `encode_takes_labels`) to (mean, log_variance), each [B, *latent]; where
    `encode_takes_noise`, such images (and indices) and noise float32 [B, *latent] from N(0, I) to
    (latents [B, *latent], log_density [B]), draws from the posterior with log q(z|x) in nats.
    `labels` are the class names by index. `version` is the next free integer unless given.

    The modules are copied, and the copies put in eval mode on the CPU: yours stay as they are.
    Images of the ONNX graphs are uint8 [B, H, W, C]. The graphs are compared with the modules at
    batches 1, 3 and the largest of `batches`; the figures go into the manifest.

    `precisions` are tried for `decode` beside fp32: each is held against the fp32 graph over 10,000
    seeded latents, with arithmetic emulated on the CPU, and left out where its images differ by
    more than `runtime.artifact.golden` allows; the card says why. Engines on GPUs run them.

    `neighbours` is a PNG for the model card: samples above their nearest training images, as
    `python -m benchmarks quality --out` draws it.

    Raises ExportError, and writes nothing, where a module does not keep to the above, cannot be
    converted, draws random numbers, lets one image depend on another in its batch, or where the
    graphs' outputs differ from the modules'; and where `version` exists already.
    """
    try:
        folder = Path(out) / check_name(name)
    except ValueError as error:
        raise ExportError(f"name: {error}") from error
    draft = _describe(
        name=name,
        version=choose_version(folder, version),
        kind=kind,
        image=image,
        latent=(latent,) if isinstance(latent, int) else tuple(latent),
        labels=labels,
        encodes=encode is not None,
        encode_takes_labels=encode_takes_labels,
        encode_takes_noise=encode_takes_noise,
        batches=tuple(batches),
        provenance=provenance or Provenance(source=_class_of(decode)),
        licence=licence,
    )
    try:
        from export.freeze import freeze
    except ModuleNotFoundError as error:
        raise ExportError(f"{error}: install latentserve[export]") from error
    return write(folder, freeze(draft, decode, encode, precisions, neighbours))


def _describe(
    *,
    name: str,
    version: int,
    kind: str,
    image: ImageSpec,
    latent: tuple[int, ...],
    labels: Sequence[str] | None,
    encodes: bool,
    encode_takes_labels: bool,
    encode_takes_noise: bool,
    batches: tuple[int, ...],
    provenance: Provenance,
    licence: str,
) -> Manifest:
    """The manifest as far as it is known before the export: no checksums, no parity.

    Raises ExportError for what no manifest can say, before any time is spent on the modules.
    """
    if isinstance(labels, str):
        raise ExportError(f"labels: expected a sequence of class names, found the text {labels!r}")
    if encode_takes_labels and (labels is None or not encodes):
        raise ExportError("encode_takes_labels: expected an encoder and labels beside it")
    if encode_takes_noise and not encodes:
        raise ExportError("encode_takes_noise: expected an encoder beside it")
    versions = {"python": python_version(), **_installed(_LIBRARIES), **provenance.versions}
    try:
        inputs, outputs = border("decode", image, latent, takes_labels=labels is not None)
        decode = GraphSpec(file="decode.onnx", precision="fp32", inputs=inputs, outputs=outputs)
        inputs, outputs = border(
            "encode",
            image,
            latent,
            takes_labels=encode_takes_labels,
            takes_noise=encode_takes_noise,
        )
        encode = GraphSpec(file="encode.onnx", precision="fp32", inputs=inputs, outputs=outputs)
        graphs = (decode, encode) if encodes else (decode,)
        return Manifest(
            name=name,
            version=version,
            kind=kind,
            image=image,
            latent=LatentSpec(shape=latent),
            labels=None if labels is None else tuple(labels),
            decode=(decode,),
            encode=(encode,) if encodes else (),
            batches=batches,
            provenance=provenance.model_copy(update={"versions": versions}),
            licence=licence,
            files={spec.file: _NOT_HASHED_YET for spec in graphs},
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or error.title
        raise ExportError(f"{where}: {first['msg']}, found {first['input']!r:.80}") from error


def _class_of(module: "nn.Module") -> str:
    return f"module {type(module).__module__}:{type(module).__qualname__}"


def _installed(libraries: Sequence[str]) -> dict[str, str]:
    versions = {library: installed_version(library) for library in libraries}
    return {library: version for library, version in versions.items() if version}
