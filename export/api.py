"""`export`: any torch module that maps latents to images becomes an artifact."""

from collections.abc import Sequence
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from export.options import ExportOptions, Imported
from export.write import choose_version, write
from runtime.artifact.manifest import (
    GraphSpec,
    LatentSpec,
    Manifest,
    Provenance,
    border,
)
from runtime.errors import ExportError
from runtime.machine import installed_version

if TYPE_CHECKING:  # importing torch takes seconds: only an export pays for it
    from torch import nn

_LIBRARIES = ("latentserve", "torch", "onnx", "onnxscript", "onnxruntime", "numpy")
_NOT_HASHED_YET = "0" * 64


def export(*, decode: "nn.Module", encode: "nn.Module | None" = None, **options: Any) -> Path:
    """Write the artifact `out/name/version` and return its folder.

    `options` are the fields of `ExportOptions`: `latent`, `image`, `name`, `out`, `labels`, ...

    `decode` maps latents float32 [B, *latent], with `labels` also class indices int64 [B], to
    images float [B, C, H, W] in `image.value_range`. `encode` maps such images (and class
    indices, where `encode_takes_labels`) to (mean, log_variance), each [B, *latent]; where
    `encode_takes_noise`, such images (and indices) and noise float32 [B, *latent] from N(0, I) to
    (latents [B, *latent], log_density [B]), draws from the posterior with log q(z|x) in nats.

    The modules are copied, and the copies put in eval mode on the CPU: yours stay as they are.
    Images of the ONNX graphs are uint8 [B, H, W, C]. The graphs are compared with the modules at
    batches 1, 3 and the largest of `batches`; the figures go into the manifest.

    Raises ExportError, and writes nothing, where a module does not keep to the above, cannot be
    converted, draws random numbers, lets one image depend on another in its batch, or where the
    graphs' outputs differ from the modules'; and where `version` exists already.
    """
    return export_imported(Imported(ExportOptions(**options), decode, encode))


def export_imported(imported: Imported) -> Path:
    """`export`, of what an importer gave."""
    options, decode, encode = imported.options, imported.decode, imported.encode
    draft = _describe(options, decode, encodes=encode is not None)
    try:
        from export.freeze import freeze
    except ModuleNotFoundError as error:
        raise ExportError(f"{error}: install latentserve[export]") from error
    artifact = freeze(draft, decode, encode, options.precisions, options.neighbours)
    return write(options.folder, artifact)


def _describe(options: ExportOptions, decode_module: "nn.Module", *, encodes: bool) -> Manifest:
    """The manifest as far as it is known before the export: no checksums, no parity.

    Raises ExportError for what no manifest can say, before any time is spent on the modules.
    """
    image, latent, labels = options.image, options.latent_shape, options.labels
    if options.encode_takes_labels and (labels is None or not encodes):
        raise ExportError("encode_takes_labels: expected an encoder and labels beside it")
    if options.encode_takes_noise and not encodes:
        raise ExportError("encode_takes_noise: expected an encoder beside it")
    version = choose_version(options.folder, options.version)
    provenance = options.provenance or Provenance(source=_class_of(decode_module))
    versions = {"python": python_version(), **_installed(_LIBRARIES), **provenance.versions}
    try:
        inputs, outputs = border("decode", image, latent, takes_labels=labels is not None)
        decode = GraphSpec(file="decode.onnx", precision="fp32", inputs=inputs, outputs=outputs)
        inputs, outputs = border(
            "encode",
            image,
            latent,
            takes_labels=options.encode_takes_labels,
            takes_noise=options.encode_takes_noise,
        )
        encode = GraphSpec(file="encode.onnx", precision="fp32", inputs=inputs, outputs=outputs)
        graphs = (decode, encode) if encodes else (decode,)
        return Manifest(
            name=options.name,
            version=version,
            kind=options.kind,
            image=image,
            latent=LatentSpec(shape=latent),
            labels=None if labels is None else tuple(labels),
            decode=(decode,),
            encode=(encode,) if encodes else (),
            batches=tuple(options.batches),
            provenance=provenance.model_copy(update={"versions": versions}),
            licence=options.licence,
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
