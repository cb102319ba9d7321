"""Verify a plan on the GPU that will run it, at each batch size by itself.

TensorRT has given wrong images for batches above one without an error (NVIDIA/TensorRT#4853), and
different ones for equal rows of a batch (#4813). So every row is compared with ONNX Runtime's fp32,
and a batch of equal rows with itself.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.golden import (
    FLOAT_TOLERANCE,
    MAX_LEVELS,
    REDUCED_MEAN_LEVELS,
    largest_difference,
)
from runtime.artifact.reading import Artifact
from runtime.artifact.tensors import GraphSpec, Precision
from runtime.engines.backend import Backend, Tensors
from runtime.engines.onnxruntime import open_reference
from runtime.errors import WrongImagesError
from runtime.machine import cores
from runtime.requests.examples import examples_of
from runtime.sampling.streams import Counter

_SEED = 5


def verify(
    artifact: Artifact, graph: str, spec: GraphSpec, backend: Backend, batch: int
) -> dict[str, Any]:
    """Run `batch` rows at once, compare them with the reference, and return the figures.

    Raises WrongImagesError where the rows are too far from the reference's, or equal rows differ.
    """
    reference = open_reference(artifact, threads=cores())
    try:
        inputs = _inputs(artifact, graph, spec, reference, batch)
        expected = _in_parts(reference, graph, inputs, artifact.manifest.max_batch)
    finally:
        reference.close()
    differences = _differences(spec, backend.run(graph, inputs), expected)
    repeated = {name: np.repeat(array[:1], batch, axis=0) for name, array in inputs.items()}
    outputs = backend.run(graph, repeated)
    unequal = _differences(spec, outputs, {name: array[:1] for name, array in outputs.items()})
    found = {
        "rows": batch,
        "mean_difference": float(differences.mean()),
        "max_difference": float(differences.max()),
        "equal_rows_differ_by": float(unequal.max()),
    }
    images = spec.gives_pixels
    largest, mean = _allowed(spec.precision) if images else (FLOAT_TOLERANCE, FLOAT_TOLERANCE)
    # Written so that NaN fails too.
    if not (found["max_difference"] <= largest and found["mean_difference"] <= mean):
        raise WrongImagesError(
            f"{spec.file} at batch {batch}: differs from the reference by up to "
            f"{found['max_difference']:g} (mean {found['mean_difference']:.3g}), "
            f"{largest:g} (mean {mean:g}) allowed ({backend.description})"
        )
    if not found["equal_rows_differ_by"] <= (MAX_LEVELS if images else FLOAT_TOLERANCE):
        raise WrongImagesError(
            f"{spec.file} at batch {batch}: equal rows differ by up to "
            f"{found['equal_rows_differ_by']:g} ({backend.description})"
        )
    return found | {"time": datetime.now(UTC).isoformat(timespec="seconds")}


def _allowed(precision: Precision) -> tuple[float, float]:
    largest = largest_difference(precision)
    return largest, largest if precision == "fp32" else REDUCED_MEAN_LEVELS


def _inputs(
    artifact: Artifact, graph: str, spec: GraphSpec, reference: Backend, batch: int
) -> dict[str, NDArray[Any]]:
    manifest = artifact.manifest
    counter = Counter(_SEED, 0, batch)
    inputs = examples_of(artifact, counter, graph=graph)
    main = manifest.main_graph
    images = spec.input("images")
    made = manifest.graphs[main].output("images")
    if main != graph and images is not None and made is not None and made.shape == images.shape:
        drawn = examples_of(artifact, counter, graph=main)
        inputs[images.name] = _in_parts(reference, main, drawn, manifest.max_batch)[made.name]
    return {tensor.name: np.ascontiguousarray(inputs[tensor.name]) for tensor in spec.inputs}


def _in_parts(backend: Backend, graph: str, inputs: Tensors, size: int) -> dict[str, NDArray[Any]]:
    rows = len(next(iter(inputs.values())))
    parts = [
        backend.run(graph, {name: array[start : start + size] for name, array in inputs.items()})
        for start in range(0, rows, size)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _differences(
    spec: GraphSpec, found: Tensors, expected: Mapping[str, NDArray[Any]]
) -> NDArray[np.float64]:
    return np.concatenate(
        [np.abs(found[t.name].astype(np.float64) - expected[t.name]).ravel() for t in spec.outputs]
    )
