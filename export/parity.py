"""Parity: how far a graph's outputs are from those of the network it came from."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from export.causes import described_error
from export.sources import Network, batch_size
from runtime.artifact.golden import allowed_difference, differences
from runtime.artifact.manifest import Parity
from runtime.artifact.tensors import GraphSpec
from runtime.engines.backend import Backend, Tensors
from runtime.errors import EngineError, ExportError

# Of the last batch, so many rows are also run one by one.
_SINGLE_ROWS = 8


def measure(
    graph: str,
    spec: GraphSpec,
    network: Network,
    backend: Backend,
    cases: Sequence[Tensors],
) -> Parity:
    """Run `network` and `backend` on the same batches, and compare.

    Allowed: 1 grey level between images, 1e-3 between an encoder's outputs, which are of the
    order of 1. Rows of the last batch must come out the same when they are run alone. Raises
    ExportError with the figures otherwise.
    """
    found = [_run(graph, spec, backend, inputs) for inputs in cases]
    expected = [network.outputs(inputs) for inputs in cases]
    differences = np.concatenate(
        [
            difference.ravel()
            for ours, theirs in zip(found, expected, strict=True)
            for difference in _differences(spec, ours, theirs).values()
        ]
    )
    maximum, mean = float(differences.max()), float(differences.mean())
    pixels = [next(iter(o.values())).ravel() for o in found] if spec.gives_pixels else []
    parity = Parity(
        graph=graph,
        precision=spec.precision,
        batches=tuple(batch_size(inputs) for inputs in cases),
        max_difference=maximum,
        mean_difference=mean,
        images_std=float(np.concatenate(pixels).std()) if pixels else None,
        compared_with=network.compared_with,
    )
    if not maximum <= allowed_difference(spec):  # NaN fails too
        raise ExportError(
            f"{spec.file}: the graph does not reproduce {parity.reference}: expected a difference "
            f"of at most {_stated(spec)}, found {maximum:g} (mean {mean:g}) at batches "
            f"{list(parity.batches)}: look for what acts differently while it is exported"
        )
    _check_rows(graph, spec, backend, cases[-1], found[-1])
    return parity


def _run(graph: str, spec: GraphSpec, backend: Backend, inputs: Tensors) -> Tensors:
    try:
        return backend.run(graph, inputs)
    except EngineError as error:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
        raise ExportError(
            f"{spec.file}: the graph fails on {shapes}: {described_error(error)}: look for sizes "
            "that the network takes for numbers, as torch.linspace, F.affine_grid and "
            "int(x.shape[2]) do"
        ) from error


def _check_rows(
    graph: str, spec: GraphSpec, backend: Backend, inputs: Tensors, outputs: Tensors
) -> None:
    size = batch_size(inputs)
    for row in sorted(set(np.linspace(0, size - 1, _SINGLE_ROWS, dtype=int).tolist())):
        alone = backend.run(graph, {name: array[row : row + 1] for name, array in inputs.items()})
        whole = {name: array[row : row + 1] for name, array in outputs.items()}
        for name, found in _differences(spec, alone, whole).items():
            difference = float(found.max())
            if not difference <= allowed_difference(spec):
                raise ExportError(
                    f"{spec.file}: row {row} of {size} comes out differently alone: expected "
                    f"{name} within {_stated(spec)}, found {difference:g}: the network lets "
                    "one row depend on the others in its batch (batch statistics?), which no "
                    "reproducible sampling can serve"
                )


def _differences(
    spec: GraphSpec, found: Tensors, expected: Tensors
) -> dict[str, NDArray[np.float64]]:
    for name, array in expected.items():
        if found[name].shape != array.shape:
            raise ExportError(
                f"{spec.file}: {name}: expected shape {list(array.shape)}, found "
                f"{list(found[name].shape)}: the network does not give one row for each of its "
                "batch"
            )
    return differences(spec, found, expected)


def _stated(spec: GraphSpec) -> str:
    return f"{allowed_difference(spec):g}" + (" grey level" if spec.gives_pixels else "")
