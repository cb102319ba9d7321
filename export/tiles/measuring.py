"""How near tiles come to the whole image: decided from the graph, and measured."""

import logging
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from export.budget import MULTIPLY_ADDS, affordable_bytes
from export.tiles.locality import halo_of
from runtime.artifact.golden import allowed_difference
from runtime.artifact.manifest import Manifest, Tiling
from runtime.artifact.reading import Artifact
from runtime.artifact.size import SIZE_AXES, Size
from runtime.artifact.tensors import GraphSpec
from runtime.batching.jobs import Job
from runtime.engines.backend import Backend, Tensors, arrays
from runtime.requests.examples import examples_of
from runtime.requests.large_jobs import tiled
from runtime.requests.tiles import tile_edges, tiles_of
from runtime.sampling.streams import Counter

logger = logging.getLogger(__name__)

_SEED = 4
_TIMES = 3
"""The work of an image, whole and in tiles that overlap, as that of so many."""


def tilings(artifact: Artifact, backend: Backend) -> dict[str, Tiling]:
    """The `tiling` of every graph whose images may be cut, by name."""
    found: dict[str, Tiling] = {}
    for name, graph in artifact.manifest.graphs.items():
        edges = tile_edges(artifact.manifest) if graph.tileable else range(0)
        if not edges:
            continue
        logger.info("%s: comparing tiles with the whole image", name)
        spec = graph.spec()
        model = onnx.load_model_from_string(artifact.files[spec.file])
        halo = halo_of(model, spec, artifact.manifest.axes)
        if halo is None or halo > edges[-1]:  # farther than any tile reaches
            tiling = Tiling(exact=False, halo=0)
        else:
            tiling = Tiling(exact=True, halo=-(-halo // edges.step) * edges.step)
        found[name] = _measured(artifact, backend, name, tiling)
    return found


def with_tilings(manifest: Manifest, found: Mapping[str, Tiling]) -> Manifest:
    """The manifest, whose graphs say so."""
    graphs = {
        name: graph.model_copy(update={"tiling": found.get(name)})
        for name, graph in manifest.graphs.items()
    }
    return manifest.model_copy(update={"graphs": graphs})


def _measured(artifact: Artifact, backend: Backend, graph: str, tiling: Tiling) -> Tiling:
    """With the difference from the whole image, where one is affordable that is larger than a
    tile."""
    manifest = with_tilings(artifact.manifest, {graph: tiling})
    trial = next(
        (each for each in _trials(manifest) if _affordable(artifact, graph, each[1])), None
    )
    if trial is None:
        return tiling
    tile, size = trial
    inputs = examples_of(artifact, Counter(_SEED, 0, 1), size, graph=graph)
    whole = backend.run(graph, inputs)

    def rows(start: int, stop: int) -> Tensors:
        return inputs

    def finish(outputs: Tensors, start: int) -> Tensors:
        return outputs

    job = tiled(Job(graph, 1, rows, finish, size), manifest, tile)
    parts = [backend.run(graph, arrays(job.rows(i, i + 1))) for i in range(job.count)]
    joined = job.finish({name: np.concatenate([p[name] for p in parts]) for name in whole}, 0)
    differences = _differences(manifest.graphs[graph].spec(), joined, whole)
    largest, allowed = float(differences.max()), allowed_difference(manifest.graphs[graph].spec())
    cut = not tiles_of(manifest, graph, size, tile).blended
    if tiling.exact and cut and largest > allowed:
        logger.warning("%s: local by its graph, but tiles differ by %g", graph, largest)
        tiling = Tiling(exact=False, halo=0)
    return tiling.model_copy(
        update={
            "tile": tile,
            "max_difference": largest,
            "mean_difference": float(differences.mean()),
        }
    )


def _trials(manifest: Manifest) -> Iterator[tuple[int, Size]]:
    """Tiles, and an image that is larger: of the default size, with tiles of half of it, and
    smaller ones."""
    edges, size = tile_edges(manifest), dict(manifest.default_size)
    half, tile = max(size[name] for name in SIZE_AXES) // 2, 0
    while tile != edges[0]:
        tile = max((edge for edge in edges if edge <= half), default=edges[0])
        for name in SIZE_AXES:
            size[name] = min(max(size[name], 2 * tile), manifest.axes[name].max)
        if any(size[name] > tile for name in SIZE_AXES):
            yield tile, tuple(size.items())
        half = tile // 2
        size |= dict.fromkeys(SIZE_AXES, 0)


def _affordable(artifact: Artifact, graph: str, size: Size) -> bool:
    """Whether one image of the size can be made whole, and once more in tiles."""
    cost = artifact.bounds[graph].cost(1, size)
    work = _TIMES * cost.multiply_adds
    return work <= MULTIPLY_ADDS // 4 and cost.bytes <= affordable_bytes()


def _differences(spec: GraphSpec, found: Tensors, expected: Tensors) -> NDArray[np.float64]:
    """Of all outputs but codes, of which a step to the next says nothing."""
    values = [tensor.name for tensor in spec.outputs if tensor.dtype != "int64"]
    return np.concatenate(
        [np.abs(found[name].astype(np.float64) - expected[name]).ravel() for name in values]
    )
