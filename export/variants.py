"""Variants of a decoder in reduced precision: held against the fp32 graph, kept or left out."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.precision import LEVELS, emulate, reduce_precision, with_levels
from export.write import choose_version, write
from runtime.artifact.golden import REDUCED_IMAGES, within_tolerance
from runtime.artifact.graph import check_graph
from runtime.artifact.manifest import REDUCED, GraphSpec, Manifest, Parity, Precision, Reduced
from runtime.artifact.reading import Artifact, read_artifact
from runtime.engines.backend import Backend, Tensors
from runtime.engines.onnxruntime import open_reference
from runtime.errors import ArtifactError, EngineError, ExportError
from runtime.machine import cores
from runtime.requests.sample import Sample

logger = logging.getLogger(__name__)

_SEED = 4
# Beside latents as they are drawn: nearly the mean of the prior, and so far out that no value of
# 10^15 lies there. Only what is finite is asked of these.
_STRONGEST_TRUNCATION, _FARTHEST = 0.01, 8.0
_EXTREMES = 64


def add_variants(
    artifact: str | Path, precisions: Sequence[Reduced] = REDUCED, *, images: int = REDUCED_IMAGES
) -> Path:
    """Write the next version of an artifact, the same but for variants of its decoder in
    `precisions`, and return its folder. A signature is not carried over."""
    plain = without_variants(read_artifact(artifact))
    folder = plain.folder.parent
    manifest = plain.manifest.model_copy(update={"version": choose_version(folder, None)})
    numbered = replace(plain, manifest=manifest)
    return write(folder, with_variants(numbered, precisions, images=images))


def without_variants(artifact: Artifact) -> Artifact:
    """The artifact with its decoder in fp32 alone."""
    manifest = artifact.manifest
    fp32 = next(spec for spec in manifest.decode if spec.precision == "fp32")
    dropped = {spec.file for spec in manifest.decode if spec is not fp32}
    update = {
        "decode": (fp32,),
        "parity": tuple(row for row in manifest.parity if row.precision == "fp32"),
        "left_out": {},
    }
    files = {name: data for name, data in artifact.files.items() if name not in dropped}
    return replace(artifact, manifest=manifest.model_copy(update=update), files=files)


def with_variants(
    artifact: Artifact, precisions: Sequence[Reduced], *, images: int = REDUCED_IMAGES
) -> Artifact:
    """The artifact with its decoder in each of `precisions` as well, as far as the images stay near
    those of the fp32 graph over so many seeded latents (`within_tolerance`), and finite on extreme
    ones; the manifest says why others are left out.

    The arithmetic is emulated on the CPU (`export.precision.emulate`); an engine that runs a
    variant is held against the fp32 graph once more.
    """
    (fp32,) = artifact.manifest.decode
    left_out: dict[Precision, str] = {}
    candidates: list[_Candidate] = []
    for precision in precisions:
        spec = fp32.model_copy(update={"file": f"decode.{precision}.onnx", "precision": precision})
        try:
            candidates.append(_candidate(artifact, spec, precision))
        except (ExportError, EngineError, ArtifactError) as error:
            left_out[precision] = str(error)
    _compare(artifact, candidates, images)
    left_out |= {c.spec.precision: reason for c in candidates if (reason := c.reason(images))}
    for precision, reason in left_out.items():
        logger.info("decode in %s is left out: %s", precision, reason)
    kept = [c for c in candidates if c.spec.precision not in left_out]
    manifest = artifact.manifest
    update = {
        "decode": (fp32, *(c.spec for c in kept)),
        "parity": (*manifest.parity, *(c.parity(manifest, images) for c in kept)),
        "left_out": left_out,
    }
    files = artifact.files | {c.spec.file: c.data for c in kept}
    return replace(artifact, manifest=manifest.model_copy(update=update), files=files)


class _Candidate:
    """A variant under examination."""

    def __init__(self, spec: GraphSpec, data: bytes, backend: Backend) -> None:
        self.spec, self.data, self.backend = spec, data, backend
        self.sum = self.largest = 0.0
        self.finite = True

    def compare(self, inputs: Tensors, expected: NDArray[np.uint8]) -> None:
        outputs = self.backend.run("decode", inputs)
        self.finite = self.finite and bool(np.isfinite(outputs[LEVELS]).all())
        levels = np.abs(outputs["images"].astype(np.int16) - expected)
        self.sum += float(levels.mean()) * len(levels)
        self.largest = max(self.largest, float(levels.max()))

    def overflow(self, inputs: Tensors) -> None:
        levels = self.backend.run("decode", inputs)[LEVELS]
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
            graph="decode",
            precision=self.spec.precision,
            batches=(manifest.max_batch,),
            max_difference=self.largest,
            mean_difference=self.sum / images,
            images=images,
        )


def _candidate(artifact: Artifact, spec: GraphSpec, precision: Reduced) -> _Candidate:
    data = reduce_precision(artifact.files[artifact.manifest.decode[0].file], precision)
    check_graph(data, spec)
    return _Candidate(spec, data, _open(artifact, with_levels(emulate(data, precision))))


def _compare(artifact: Artifact, candidates: Sequence[_Candidate], images: int) -> None:
    if not candidates:
        return
    manifest = artifact.manifest
    reference = _open(artifact, artifact.files[manifest.decode[0].file])
    for start in range(0, images, manifest.max_batch):
        count = min(manifest.max_batch, images - start)
        inputs = Sample(count, _SEED, start).inputs(artifact)
        expected = reference.run("decode", inputs)["images"]
        for candidate in candidates:
            candidate.compare(inputs, expected)
    for inputs in _extremes(artifact):
        for candidate in candidates:
            candidate.overflow(inputs)
    for backend in (reference, *(candidate.backend for candidate in candidates)):
        backend.close()


def _extremes(artifact: Artifact) -> Iterator[dict[str, NDArray[Any]]]:
    yield Sample(_EXTREMES, _SEED, truncation=_STRONGEST_TRUNCATION).inputs(artifact)
    far = Sample(_EXTREMES, _SEED).inputs(artifact)
    yield far | {"latents": np.copysign(np.float32(_FARTHEST), far["latents"])}


def _open(artifact: Artifact, data: bytes) -> Backend:
    """ONNX Runtime with `data` in place of the fp32 decoder."""
    (fp32,) = artifact.manifest.decode
    manifest = artifact.manifest.model_copy(update={"encode": ()})
    replaced = replace(artifact, manifest=manifest, files={fp32.file: data})
    return open_reference(replaced, threads=cores())
