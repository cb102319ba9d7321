"""Variants of the main graph in reduced precision: compared with fp32, kept or left out."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from export.budget import affordable
from export.precision import LEVELS, emulate, reduce_precision, with_levels
from export.write import choose_version, write
from runtime.artifact.golden import REDUCED_IMAGES, within_tolerance
from runtime.artifact.graph import check_graph
from runtime.artifact.manifest import REDUCED, Manifest, Parity, Reduced
from runtime.artifact.reading import Artifact, read_artifact
from runtime.artifact.tensors import GraphSpec, Precision
from runtime.engines.backend import Backend, Tensors
from runtime.engines.nvidia.devices import gpus
from runtime.engines.onnxruntime import open_reference
from runtime.errors import ArtifactError, EngineError, ExportError
from runtime.machine import cores
from runtime.requests.examples import examples_of
from runtime.sampling.streams import Counter

logger = logging.getLogger(__name__)

_SEED = 4
# Extreme latents: nearly the mean of the prior, and farther out than 1 value in 10^15. Their images
# must only be finite.
_STRONGEST_TRUNCATION, _FARTHEST = 0.01, 8.0
_EXTREMES = 64


def add_variants(
    artifact: str | Path, precisions: Sequence[Reduced] = REDUCED, *, images: int = REDUCED_IMAGES
) -> Path:
    """Write the next version of an artifact, the same but for variants of its main graph in
    `precisions`, and return its folder. A signature is not carried over."""
    plain = without_variants(read_artifact(artifact))
    folder = plain.folder.parent
    manifest = plain.manifest.model_copy(update={"version": choose_version(folder, None)})
    numbered = replace(plain, manifest=manifest)
    return write(folder, with_variants(numbered, precisions, images=images))


def chosen_precisions(precisions: Sequence[Reduced] | Literal["auto"]) -> Sequence[Reduced]:
    """Those to try. `auto`: all where there is a GPU; CPU engines make their own from fp32."""
    if precisions == "auto":
        return REDUCED if gpus() else ()
    return precisions


def without_variants(artifact: Artifact) -> Artifact:
    """The artifact with every graph in fp32 alone."""
    manifest = artifact.manifest
    kept = {graph.files["fp32"] for graph in manifest.graphs.values()}
    dropped = {f for graph in manifest.graphs.values() for f in graph.files.values()} - kept
    update = {
        "graphs": {
            name: graph.model_copy(update={"files": {"fp32": graph.files["fp32"]}})
            for name, graph in manifest.graphs.items()
        },
        "parity": tuple(row for row in manifest.parity if row.precision == "fp32"),
        "left_out": {},
    }
    files = {name: data for name, data in artifact.files.items() if name not in dropped}
    return replace(artifact, manifest=manifest.model_copy(update=update), files=files)


def with_variants(
    artifact: Artifact,
    precisions: Sequence[Reduced] | Literal["auto"],
    *,
    images: int = REDUCED_IMAGES,
) -> Artifact:
    """The artifact with its main graph in each of `precisions` as well, as far as the images stay
    near those of the fp32 graph over so many seeded inputs, or as many as their cost allows
    (`within_tolerance`), and finite on extreme ones; the manifest says why others are left out.

    The arithmetic is emulated on the CPU (`export.precision.emulate`); an engine that runs a
    variant is compared with the fp32 graph once more.
    """
    manifest = artifact.manifest
    main, size = manifest.main_graph, manifest.smallest_size
    graph = manifest.graphs[main]
    precisions = chosen_precisions(precisions)
    if not precisions or not graph.gives_pixels:
        return artifact
    images = affordable(artifact.bounds[main], images, size)
    left_out: dict[Precision, str] = {}
    candidates: list[_Candidate] = []
    for precision in precisions:
        logger.info("%s: trying %s over %d images", main, precision, images)
        spec = replace(graph.spec(), file=f"{main}.{precision}.onnx", precision=precision)
        try:
            candidates.append(_candidate(artifact, spec, precision))
        except (ExportError, EngineError, ArtifactError) as error:
            left_out[precision] = str(error)
    _compare(artifact, candidates, images)
    left_out |= {c.spec.precision: reason for c in candidates if (reason := c.reason(images))}
    for precision, reason in left_out.items():
        logger.info("%s in %s is left out: %s", main, precision, reason)
    kept = [c for c in candidates if c.spec.precision not in left_out]
    made = {**graph.files, **{c.spec.precision: c.spec.file for c in kept}}
    files = artifact.files | {c.spec.file: c.data for c in kept}
    update = {
        "graphs": {**manifest.graphs, main: graph.model_copy(update={"files": made})},
        "parity": (*manifest.parity, *(c.parity(manifest, images) for c in kept)),
        "left_out": left_out,
    }
    return replace(artifact, manifest=manifest.model_copy(update=update), files=files)


class _Candidate:
    """A variant under examination."""

    def __init__(self, graph: str, spec: GraphSpec, data: bytes, backend: Backend) -> None:
        self.graph, self.spec, self.data, self.backend = graph, spec, data, backend
        self.sum = self.largest = 0.0
        self.finite = True

    def compare(self, inputs: Tensors, expected: NDArray[np.uint8]) -> None:
        outputs = self.backend.run(self.graph, inputs)
        self.finite = self.finite and bool(np.isfinite(outputs[LEVELS]).all())
        levels = np.abs(outputs[self.spec.outputs[0].name].astype(np.int16) - expected)
        self.sum += float(levels.mean()) * len(levels)
        self.largest = max(self.largest, float(levels.max()))

    def overflow(self, inputs: Tensors) -> None:
        levels = self.backend.run(self.graph, inputs)[LEVELS]
        self.finite = self.finite and bool(np.isfinite(levels).all())

    def reason(self, images: int) -> str | None:
        """Why it cannot be kept, if so."""
        if not self.finite:
            return f"NaN or infinity: values beyond what {self.spec.precision} can hold"
        if not within_tolerance(self.spec.precision, self.sum / images, self.largest, images):
            return (
                f"its images differ from the fp32 graph's by {self.sum / images:.3g} grey levels "
                f"on average and {self.largest:g} at most, over {images} latents"
            )
        return None

    def parity(self, manifest: Manifest, images: int) -> Parity:
        return Parity(
            graph=self.graph,
            precision=self.spec.precision,
            batches=(manifest.max_batch,),
            max_difference=self.largest,
            mean_difference=self.sum / images,
            images=images,
        )


def _candidate(artifact: Artifact, spec: GraphSpec, precision: Reduced) -> _Candidate:
    manifest = artifact.manifest
    main = manifest.main_graph
    data = reduce_precision(artifact.files[manifest.graphs[main].files["fp32"]], precision)
    check_graph(data, spec, [manifest.smallest_size, manifest.default_size])
    return _Candidate(main, spec, data, _open(artifact, with_levels(emulate(data, precision))))


def _compare(artifact: Artifact, candidates: Sequence[_Candidate], images: int) -> None:
    if not candidates:
        return
    manifest = artifact.manifest
    main, size = manifest.main_graph, manifest.smallest_size
    fp32 = manifest.graphs[main].spec()
    reference = _open(artifact, artifact.files[fp32.file])
    for start in range(0, images, manifest.max_batch):
        count = min(manifest.max_batch, images - start)
        inputs = examples_of(artifact, Counter(_SEED, start, count), size)
        expected = reference.run(main, inputs)[fp32.outputs[0].name]
        for candidate in candidates:
            candidate.compare(inputs, expected)
    for inputs in _extremes(artifact):
        for candidate in candidates:
            candidate.overflow(inputs)
    for backend in (reference, *(candidate.backend for candidate in candidates)):
        backend.close()


def _extremes(artifact: Artifact) -> Iterator[dict[str, NDArray[Any]]]:
    manifest = artifact.manifest
    latents = manifest.graphs[manifest.main_graph].input("latents")
    if latents is None:
        return
    rows, size = min(_EXTREMES, manifest.max_batch), manifest.smallest_size
    for start in range(0, _EXTREMES if manifest.max_batch > 1 else 1, rows):
        counter = Counter(_SEED, start, rows)
        yield examples_of(artifact, counter, size, truncation=_STRONGEST_TRUNCATION)
        far = examples_of(artifact, counter, size)
        yield far | {latents.name: np.copysign(np.float32(_FARTHEST), far[latents.name])}


def _open(artifact: Artifact, data: bytes) -> Backend:
    """ONNX Runtime with `data` in place of the main graph, and no other graph."""
    manifest = artifact.manifest
    graph = manifest.graphs[manifest.main_graph]
    alone = manifest.model_copy(update={"graphs": {manifest.main_graph: graph}})
    replaced = replace(artifact, manifest=alone, files={graph.files["fp32"]: data})
    return open_reference(replaced, threads=cores())
