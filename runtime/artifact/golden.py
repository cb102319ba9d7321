"""Golden inputs and outputs: what the artifact's graphs gave where they were exported.

`golden.npz` holds every graph's inputs and outputs for a few rows, each as `<graph>.<tensor>`.
"""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.manifest import Manifest
from runtime.artifact.reading import Artifact, read_npz
from runtime.artifact.tensors import Precision, Signature
from runtime.engines.backend import Backend, Tensors
from runtime.errors import ArtifactError, EngineError
from runtime.sampling.streams import MAX_SEED, Counter, Draws

GOLDEN = "golden.npz"

MAX_ROWS = 64
"""Of golden images; an export writes 4."""
# A first run that is shorter is mostly warm-up: it is repeated.
_FIRST_RUN_SECONDS, _RUNS = 0.2, 3
# Larger runs than this are made row by row.
_MEMORY = 1 << 30

# The tolerance of all backends in fp32: of pixels in grey levels, and of other outputs, which are
# of the order of 1: float32 sums in another order differ by about 1e-5.
MAX_LEVELS = 1
FLOAT_TOLERANCE = 1e-3
# In reduced precision every pixel may be a little off, but not visibly: on the average over many
# images, and at most.
REDUCED_MEAN_LEVELS = 0.5
REDUCED_MAX_LEVELS = 4


# For so many images; a few hundred seldom show the largest difference, and have a lower limit.
REDUCED_IMAGES = 10_000
REDUCED_MAX_LEVELS_OF_FEW = 2

CODES_SHARE = 1e-3
"""Of the codes that an encoder gives, so many may be another entry of the codebook."""


def within_tolerance(
    precision: Precision, mean_levels: float, max_levels: float, images: int
) -> bool:
    """Whether so many images may differ so much from the reference's (grey levels); False for
    NaN."""
    if precision == "fp32":
        return max_levels <= MAX_LEVELS
    largest = REDUCED_MAX_LEVELS if images >= REDUCED_IMAGES else REDUCED_MAX_LEVELS_OF_FEW
    return mean_levels <= REDUCED_MEAN_LEVELS and max_levels <= largest


def allowed_difference(spec: Signature) -> float:
    """By which an fp32 graph's outputs may differ: in grey levels where all are images."""
    return MAX_LEVELS if spec.gives_pixels else FLOAT_TOLERANCE


def largest_difference(precision: Precision) -> int:
    """Grey levels by which one image may differ at most."""
    return MAX_LEVELS if precision == "fp32" else REDUCED_MAX_LEVELS


def differences(
    spec: Signature, found: Tensors, expected: Tensors
) -> dict[str, NDArray[np.float64]]:
    """The distance of every value of a graph's outputs from what was expected, all of the same
    shapes.

    A code is the number of the nearest entry of a codebook: where two are as near, rounding
    chooses. So few codes that differ (`CODES_SHARE`), and latents made of these, count as equal.
    """
    made = {
        name: np.abs(found[name].astype(np.float64) - array) for name, array in expected.items()
    }
    codes = spec.output("codes")
    if codes is None:
        return made
    differs = made[codes.name] != 0
    if differs.mean() > CODES_SHARE:
        return made
    made[codes.name] = np.zeros_like(made[codes.name])
    latents = spec.output("latents")
    # [n, h, w] codes of latents [n, c, h, w], or [n, l] of [n, l, c].
    if latents is not None and made[latents.name].shape[2:] == differs.shape[1:]:
        made[latents.name] *= ~differs[:, None]
    elif latents is not None and made[latents.name].shape[:-1] == differs.shape:
        made[latents.name] *= ~differs[..., None]
    return made


def check_golden(
    artifact: Artifact, backend: Backend, precision: Precision = "fp32"
) -> dict[str, float]:
    """Reproduce the golden outputs on this engine; EngineError where they differ. Returns the
    seconds that a row took in each graph."""
    manifest = artifact.manifest
    if GOLDEN not in artifact.files:
        raise ArtifactError(artifact.folder / GOLDEN, "expected the golden images, found none")
    golden = read_npz(artifact.files[GOLDEN], GOLDEN)
    seconds: dict[str, float] = {}
    for name, graph in manifest.graphs.items():
        allowed: Precision = precision if graph.gives_pixels else "fp32"
        seconds[name] = _check_graph(artifact, name, graph, golden, backend, allowed)
        if backend.draws and name == manifest.main_graph:
            _check_drawing(artifact, name, backend, precision)
    return seconds


def _check_drawing(artifact: Artifact, graph: str, backend: Backend, precision: Precision) -> None:
    """Images of latents that the engine draws itself are those of the same latents given to it."""
    manifest = artifact.manifest
    spec = manifest.graphs[graph]
    latents = spec.input("latents")
    if latents is None:
        return
    segments = (
        (Counter(0, 0, 2), None),
        (Counter(MAX_SEED - 1, 0, 1), 0.5),
        (Counter(1, 7, 2), None),
    )
    draws = Draws(latents.at(manifest.default_size), segments)
    rest: dict[str, NDArray[Any]] = {}
    for tensor in spec.inputs:
        if tensor.role == "labels":
            rest[tensor.name] = np.arange(len(draws)) % len(manifest.labels or ())
        elif tensor is not latents:
            shape = (len(draws), *tensor.at(manifest.default_size))
            rest[tensor.name] = np.ones(shape, tensor.dtype)
    drawn = _images(backend.run(graph, {latents.name: draws, **rest}))
    given = _images(backend.run(graph, {latents.name: np.asarray(draws), **rest}))
    difference = float(np.abs(drawn - given).max())
    allowed = largest_difference(precision)
    if not difference <= allowed:
        raise EngineError(
            f"{graph}: images of latents that this engine draws differ from those of the same "
            f"latents given to it by up to {difference:g}, {allowed:g} allowed "
            f"({backend.description})"
        )


def _images(outputs: Tensors) -> NDArray[np.float64]:
    return next(iter(outputs.values())).astype(np.float64)


def _check_graph(
    artifact: Artifact,
    graph: str,
    spec: Signature,
    golden: dict[str, NDArray[Any]],
    backend: Backend,
    precision: Precision,
) -> float:
    inputs = {tensor.name: _array(golden, f"{graph}.{tensor.name}") for tensor in spec.inputs}
    rows = _check_inputs(graph, spec, inputs, artifact.manifest)
    one = artifact.bounds[graph].cost(1, artifact.manifest.smallest_size).bytes
    each = rows if one * rows <= _MEMORY else 1
    began = time.monotonic()
    parts = [
        backend.run(graph, {name: array[i : i + each] for name, array in inputs.items()})
        for i in range(0, rows, each)
    ]
    seconds = time.monotonic() - began
    if seconds < _FIRST_RUN_SECONDS:
        seconds = min(_seconds(backend, graph, inputs) for _ in range(_RUNS))
    outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    expected_outputs = {t.name: _array(golden, f"{graph}.{t.name}") for t in spec.outputs}
    for tensor in spec.outputs:
        expected, found = expected_outputs[tensor.name], outputs[tensor.name]
        if found.shape != expected.shape or found.dtype != expected.dtype:
            raise EngineError(
                f"{graph}: golden {tensor.name} is {expected.dtype} {list(expected.shape)}, "
                f"this engine gave {found.dtype} {list(found.shape)}"
            )
    distances = differences(spec, outputs, expected_outputs)
    for tensor in spec.outputs:
        difference = float(distances[tensor.name].max())
        allowed = largest_difference(precision) if tensor.dtype == "uint8" else FLOAT_TOLERANCE
        # Written so that NaN fails too.
        if not difference <= allowed:
            raise EngineError(
                f"{graph}: this engine does not reproduce the golden {tensor.name}: they differ "
                f"by up to {difference:g}, {allowed:g} allowed ({backend.description})"
            )
    return seconds / rows


def _seconds(backend: Backend, graph: str, inputs: Tensors) -> float:
    began = time.monotonic()
    backend.run(graph, inputs)
    return time.monotonic() - began


def _check_inputs(graph: str, spec: Signature, inputs: Tensors, manifest: Manifest) -> int:
    """The number of rows; ArtifactError where there are none, or many, or of other sizes."""
    rows = {len(array) for array in inputs.values()}
    if not all(rows):
        raise ArtifactError(GOLDEN, f"expected at least one golden image for {graph}, found none")
    if len(rows) > 1 or max(rows) > MAX_ROWS:
        raise ArtifactError(
            GOLDEN,
            f"{graph}: expected as many rows of each input, at most {MAX_ROWS} rows, "
            f"found {' and '.join(map(str, sorted(rows)))}",
        )
    for tensor in spec.inputs:
        shapes = {tensor.at(size) for size in (manifest.smallest_size, manifest.default_size)}
        found = inputs[tensor.name].shape[1:]
        if found not in shapes:
            expected = " or ".join(str(list(shape)) for shape in sorted(shapes))
            raise ArtifactError(
                GOLDEN, f"{graph}.{tensor.name}: expected rows of {expected}, found {list(found)}"
            )
    return rows.pop()


def _array(golden: dict[str, NDArray[Any]], name: str) -> NDArray[Any]:
    if name not in golden:
        raise ArtifactError(GOLDEN, f"expected an array {name!r}, found {sorted(golden)}")
    if not golden[name].ndim:
        raise ArtifactError(GOLDEN, f"expected rows in {name!r}, found a single number")
    return golden[name]
