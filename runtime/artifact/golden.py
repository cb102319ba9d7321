"""Golden inputs and outputs: what the artifact's graphs gave where they were exported.

`golden.npz` holds `decode.<input>` and `decode.images`, and where there is an encoder
`encode.images`, `encode.mean`, `encode.log_variance`: the same names as the graphs', prefixed.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.manifest import GraphName, GraphSpec, Manifest, Precision
from runtime.artifact.reading import Artifact, read_npz
from runtime.engines.backend import Backend
from runtime.errors import ArtifactError, EngineError
from runtime.sampling.streams import MAX_SEED, Counter, Draws

GOLDEN = "golden.npz"

# The pixel tolerance of all backends in fp32, in grey levels, and its kin for encoders, whose
# outputs are of the order of 1: float32 sums in another order differ by about 1e-5.
MAX_LEVELS = 1
ENCODE_TOLERANCE = 1e-3
# In reduced precision every pixel may be a little off, but not visibly: on the average over many
# images, and at most.
REDUCED_MEAN_LEVELS = 0.5
REDUCED_MAX_LEVELS = 4


# What is meant over thousands of images; a few hundred seldom show the largest difference.
REDUCED_IMAGES = 10_000
REDUCED_MAX_LEVELS_OF_FEW = 2


def within_tolerance(
    precision: Precision, mean_levels: float, max_levels: float, images: int
) -> bool:
    """Whether so many images may differ so much from the reference's (grey levels); False for
    NaN."""
    if precision == "fp32":
        return max_levels <= MAX_LEVELS
    largest = REDUCED_MAX_LEVELS if images >= REDUCED_IMAGES else REDUCED_MAX_LEVELS_OF_FEW
    return mean_levels <= REDUCED_MEAN_LEVELS and max_levels <= largest


def largest_difference(precision: Precision) -> int:
    """Grey levels by which one image may differ at most."""
    return MAX_LEVELS if precision == "fp32" else REDUCED_MAX_LEVELS


def check_golden(artifact: Artifact, backend: Backend, precision: Precision = "fp32") -> None:
    """Reproduce the golden outputs on this engine; EngineError where they differ."""
    manifest = artifact.manifest
    if GOLDEN not in artifact.files:
        raise ArtifactError(artifact.folder / GOLDEN, "expected the golden images, found none")
    golden = read_npz(artifact.files[GOLDEN], GOLDEN)
    for spec in manifest.decode[:1]:
        _check_graph("decode", spec, golden, backend, precision)
    for spec in manifest.encode[:1]:
        _check_graph("encode", spec, golden, backend, "fp32")
    if backend.draws:
        _check_drawing(manifest, backend, precision)


def _check_drawing(manifest: Manifest, backend: Backend, precision: Precision) -> None:
    """Images of latents that the engine draws itself are those of the same latents given to it."""
    segments = (
        (Counter(0, 0, 2), None),
        (Counter(MAX_SEED - 1, 0, 1), 0.5),
        (Counter(1, 7, 2), None),
    )
    draws = Draws(manifest.latent.shape, segments)
    labels = manifest.labels
    rest = {} if labels is None else {"labels": np.arange(len(draws)) % len(labels)}
    drawn = backend.run("decode", {"latents": draws, **rest})["images"]
    given = backend.run("decode", {"latents": np.asarray(draws), **rest})["images"]
    difference = float(np.abs(drawn.astype(np.float64) - given).max())
    allowed = largest_difference(precision)
    if not difference <= allowed:
        raise EngineError(
            f"decode: images of latents that this engine draws differ from those of the same "
            f"latents given to it by up to {difference:g}, {allowed:g} allowed "
            f"({backend.description})"
        )


def _check_graph(
    graph: GraphName,
    spec: GraphSpec,
    golden: dict[str, NDArray[Any]],
    backend: Backend,
    precision: Precision,
) -> None:
    inputs = {tensor.name: _array(golden, f"{graph}.{tensor.name}") for tensor in spec.inputs}
    if not all(len(array) for array in inputs.values()):
        raise ArtifactError(GOLDEN, f"expected at least one golden image for {graph}, found none")
    outputs = backend.run(graph, inputs)
    for tensor in spec.outputs:
        expected = _array(golden, f"{graph}.{tensor.name}")
        found = outputs[tensor.name]
        if found.shape != expected.shape or found.dtype != expected.dtype:
            raise EngineError(
                f"{graph}: golden {tensor.name} is {expected.dtype} {list(expected.shape)}, "
                f"this engine gave {found.dtype} {list(found.shape)}"
            )
        difference = float(np.abs(found.astype(np.float64) - expected).max())
        allowed = largest_difference(precision) if tensor.dtype == "uint8" else ENCODE_TOLERANCE
        # Written so that NaN fails too.
        if not difference <= allowed:
            raise EngineError(
                f"{graph}: this engine does not reproduce the golden {tensor.name}: they differ "
                f"by up to {difference:g}, {allowed:g} allowed ({backend.description})"
            )


def _array(golden: dict[str, NDArray[Any]], name: str) -> NDArray[Any]:
    if name not in golden:
        raise ArtifactError(GOLDEN, f"expected an array {name!r}, found {sorted(golden)}")
    if not golden[name].ndim:
        raise ArtifactError(GOLDEN, f"expected rows in {name!r}, found a single number")
    return golden[name]
