"""An artifact that is being made: its manifest comes later, when there are files to hash."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from platform import python_version

from pydantic import ValidationError

from export.options import ExportOptions
from export.signatures import graph_specs
from export.sources import Source
from export.write import choose_version
from runtime.artifact.bounds import Bounds
from runtime.artifact.manifest import (
    Axis,
    Graph,
    Manifest,
    Parity,
    Provenance,
    Tiling,
    check_axes,
    check_choices,
)
from runtime.artifact.reading import Artifact
from runtime.artifact.tensors import GraphSpec
from runtime.errors import ExportError
from runtime.machine import installed_version

_LIBRARIES = ("latentserve", "torch", "onnx", "onnxscript", "onnxruntime", "numpy")


@dataclass(frozen=True)
class Draft:
    """What is known before the modules are converted; `graphs`: their signatures."""

    options: ExportOptions
    version: int
    provenance: Provenance
    graphs: Mapping[str, GraphSpec]

    @property
    def axes(self) -> Mapping[str, Axis]:
        return self.options.axes

    def artifact(
        self,
        files: Mapping[str, bytes],
        batches: Sequence[int],
        parity: tuple[Parity, ...] = (),
        tiling: Mapping[str, Tiling] | None = None,
    ) -> Artifact:
        """The artifact of these files, with their checksums."""
        options, tiling = self.options, tiling or {}
        graphs = {
            name: Graph(
                inputs=spec.inputs,
                outputs=spec.outputs,
                files={"fp32": spec.file},
                tiling=tiling.get(name),
            )
            for name, spec in self.graphs.items()
        }
        try:
            manifest = Manifest(
                name=options.name,
                version=self.version,
                kind=options.kind,
                axes=dict(options.axes),
                graphs=graphs,
                prior=options.prior,
                labels=None if options.labels is None else tuple(options.labels),
                vocabulary=options.vocabulary,
                batches=tuple(batches),
                parity=parity,
                provenance=self.provenance,
                licence=options.licence,
                files={name: sha256(data).hexdigest() for name, data in files.items()},
            )
        except ValidationError as error:
            raise _refused(error) from error
        import onnx

        bounds = {
            name: Bounds(onnx.load_model_from_string(files[spec.file]), spec)
            for name, spec in self.graphs.items()
        }
        return Artifact(options.folder, manifest, dict(files), bounds=bounds)


def make_draft(options: ExportOptions, sources: Mapping[str, Source]) -> Draft:
    """Raises ExportError for sources and options that do not fit together."""
    if not sources:
        raise ExportError("expected at least one module: decode, encode or translate")
    version = choose_version(options.folder, options.version)
    provenance = options.provenance or Provenance(source=next(iter(sources.values())).description)
    versions = {"python": python_version(), **_installed(_LIBRARIES), **provenance.versions}
    provenance = provenance.model_copy(update={"versions": versions})
    try:
        graphs = graph_specs(options, sources)
    except ValidationError as error:
        raise _refused(error) from error
    _check_options(options, graphs)
    return Draft(options, version, provenance, graphs)


def _check_options(options: ExportOptions, graphs: Mapping[str, GraphSpec]) -> None:
    """Refuse before the conversion what the manifest would refuse after it."""
    named = all(isinstance(name, str) and name.strip() for name in options.labels or ())
    if not named:
        raise ExportError(f"labels: expected a name for each, found {tuple(options.labels or ())}")
    try:
        check_choices(options.batches, options.labels)
        for name, spec in graphs.items():
            check_axes(name, spec, options.axes)
    except ValueError as error:
        raise ExportError(str(error)) from error
    image = {"height": options.image.height, "width": options.image.width}
    for name, axis in options.axes.items():
        if name in image and axis.default != image[name]:
            raise ExportError(
                f"axes: {name}: expected the default to be that of the image, {image[name]}, "
                f"found {axis.default}"
            )


def _refused(error: ValidationError) -> ExportError:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or error.title
    reason = first["msg"].removeprefix("Value error, ")
    # Of what several fields say together, the reason says what was found.
    found = "" if isinstance(first["input"], dict) else f", found {first['input']!r:.80}"
    return ExportError(f"{where}: {reason}{found}")


def _installed(libraries: Sequence[str]) -> dict[str, str]:
    versions = {library: installed_version(library) for library in libraries}
    return {library: version for library, version in versions.items() if version}
