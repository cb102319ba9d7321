"""Parity: how far a graph's outputs are from those of the torch module it came from."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from export.causes import described_error
from runtime.artifact.golden import FLOAT_TOLERANCE, MAX_LEVELS, differences
from runtime.artifact.manifest import Parity
from runtime.artifact.tensors import GraphSpec
from runtime.engines.backend import Backend, Tensors
from runtime.errors import ExportError

# Of the last batch, so many rows are also run one by one.
_SINGLE_ROWS = 8


def measure(
    graph: str,
    spec: GraphSpec,
    module: nn.Module,
    backend: Backend,
    cases: Sequence[Tensors],
) -> Parity:
    """Run `module` and `backend` on the same batches, and compare.

    Allowed: 1 grey level between images, 1e-3 between an encoder's outputs, which are of the
    order of 1. Rows of the last batch must come out the same when they are run alone. Raises
    ExportError with the figures otherwise.
    """
    found = [backend.run(graph, inputs) for inputs in cases]
    expected = [run_torch(module, inputs, spec) for inputs in cases]
    differences = np.concatenate(
        [
            difference.ravel()
            for ours, theirs in zip(found, expected, strict=True)
            for difference in _differences(spec, ours, theirs).values()
        ]
    )
    maximum, mean = float(differences.max()), float(differences.mean())
    batches = tuple(batch_size(inputs) for inputs in cases)
    if not maximum <= _allowed(spec):  # NaN fails too
        raise ExportError(
            f"{spec.file}: the graph does not reproduce the torch module: expected a difference "
            f"of at most {_stated(spec)}, found {maximum:g} (mean {mean:g}) "
            f"at batches {list(batches)}: look for code that acts differently while it is exported"
        )
    _check_rows(graph, spec, backend, cases[-1], found[-1])
    pixels = [next(iter(o.values())).ravel() for o in found] if spec.gives_pixels else []
    return Parity(
        graph=graph,
        precision=spec.precision,
        batches=batches,
        max_difference=maximum,
        mean_difference=mean,
        images_std=float(np.concatenate(pixels).std()) if pixels else None,
    )


def _check_rows(
    graph: str, spec: GraphSpec, backend: Backend, inputs: Tensors, outputs: Tensors
) -> None:
    size = batch_size(inputs)
    for row in sorted(set(np.linspace(0, size - 1, _SINGLE_ROWS, dtype=int).tolist())):
        alone = backend.run(graph, {name: array[row : row + 1] for name, array in inputs.items()})
        whole = {name: array[row : row + 1] for name, array in outputs.items()}
        for name, found in _differences(spec, alone, whole).items():
            difference = float(found.max())
            if not difference <= _allowed(spec):
                raise ExportError(
                    f"{spec.file}: row {row} of {size} comes out differently alone: expected "
                    f"{name} within {_stated(spec)}, found {difference:g}: the module lets "
                    "one row depend on the others in its batch (batch statistics?), which no "
                    "reproducible sampling can serve"
                )


def run_torch(module: nn.Module, inputs: Tensors, spec: GraphSpec) -> Tensors:
    """What `Backend.run` gives, from the torch module itself; ExportError where it fails."""
    tensors = [torch.from_numpy(inputs[tensor.name]) for tensor in spec.inputs]
    try:
        with torch.inference_mode():
            outputs = module(*tensors)
    except Exception as error:  # whatever a user's forward raises
        raise ExportError(
            f"{spec.file}: the module failed on a batch of {batch_size(inputs)}: "
            f"{described_error(error)}"
        ) from error
    outputs = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
    return {t.name: output.numpy() for t, output in zip(spec.outputs, outputs, strict=True)}


def batch_size(inputs: Tensors) -> int:
    """The common length of the leading axis."""
    return len(next(iter(inputs.values())))


def _differences(
    spec: GraphSpec, found: Tensors, expected: Tensors
) -> dict[str, NDArray[np.float64]]:
    for name, array in expected.items():
        if found[name].shape != array.shape:
            raise ExportError(
                f"{spec.file}: {name}: expected shape {list(array.shape)}, found "
                f"{list(found[name].shape)}: the module does not give one row for each of its batch"
            )
    return differences(spec, found, expected)


def _allowed(spec: GraphSpec) -> float:
    return MAX_LEVELS if spec.gives_pixels else FLOAT_TOLERANCE


def _stated(spec: GraphSpec) -> str:
    return f"{_allowed(spec):g}" + (" grey level" if spec.gives_pixels else "")
