"""Jobs of large images: whole where one fits, else in tiles (`runtime.requests.tiles`)."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.manifest import Manifest
from runtime.artifact.size import SIZE_AXES, Size
from runtime.artifact.tensors import Signature
from runtime.batching.capacity import Capacity
from runtime.batching.jobs import AUTOMATIC, Job
from runtime.checks import check_integer, short
from runtime.engines.backend import Inputs, Tensors, arrays
from runtime.errors import InputError
from runtime.requests.checks import MAX_COUNT
from runtime.requests.tiles import joined, tile_edges, tiles_of

T = TypeVar("T")


def checked_tile(manifest: Manifest, graph: str, tile: int | None) -> int | None:
    """A request's `tile` as that of its job: without one, cut where it must be. InputError for a
    tile that the graph's images cannot be cut into."""
    spec = manifest.graphs[graph]
    if tile is None:
        return AUTOMATIC if spec.tileable else None
    if not spec.tileable:
        expected = (
            f"none: {manifest.name} cannot {graph} in tiles, for which all that it takes and gives "
            "must have named height and width"
        )
        raise InputError("tile", expected, short(tile))
    edges = tile_edges(manifest)
    expected = "none: no square is within the bounds of both height and width"
    if edges:
        expected = f"a multiple of {edges.step} from {edges[0]} to {edges[-1]}"
    if check_integer("tile", tile, 1, MAX_COUNT, expected) not in edges:
        raise InputError("tile", expected, str(tile))
    return tile


def fitted(job: Job[T], manifest: Manifest, capacity: Capacity) -> Job[T]:
    """The job, or the job of its images' tiles: of the edge that it asks for or, where an image
    does not fit or is larger than the artifact takes, of the largest that fits. InputError where
    nothing fits."""
    if not job.size or job.group > 1:
        return job
    memory, then = capacity.memory, job.then
    if then is not None:

        def follow(result: Any, start: int) -> Job[Any]:
            return fitted(then(result, start), manifest, capacity)

        job = replace(job, then=follow)
    if job.tile is None:
        _check_memory("size", job, capacity)
        return job
    tile = job.tile
    if tile == AUTOMATIC:
        within = all(value <= manifest.axes[name].max for name, value in job.size)
        if within and (memory is None or capacity.needs(job.graph, job.size).first <= memory):
            return job
        tile = _largest_fitting(job, manifest, capacity)
    held = _held(manifest.graphs[job.graph], job.size)
    if memory is not None and held > memory:
        raise _too_large("size", job, memory, held)
    cut = tiled(job, manifest, tile)
    _check_memory("size" if job.tile == AUTOMATIC else "tile", cut, capacity)
    return cut


def tiled(job: Job[T], manifest: Manifest, tile: int) -> Job[T]:
    """The job that makes of an image's tiles what `job` makes of the whole, or nearly so.

    Its rows are tiles, those of one image together, and its `finish` puts them together again.
    """
    graph = manifest.graphs[job.graph]
    tiles = tiles_of(manifest, job.graph, job.size, tile)
    each = len(tiles)
    shapes = {tensor.name: tensor.shape for tensor in graph.inputs}

    @lru_cache(maxsize=2)  # noise is drawn once for an image, not once for a run
    def whole(image: int) -> dict[str, NDArray[Any]]:
        return arrays(job.rows(image, image + 1))

    def rows(start: int, stop: int) -> Inputs:
        cut: dict[str, list[NDArray[Any]]] = {name: [] for name in shapes}
        for row in range(start, stop):
            image, number = divmod(row, each)
            for name, array in whole(image).items():
                cut[name].append(array[0][tiles.box(shapes[name], number)])
        return {name: np.stack(parts) for name, parts in cut.items() if parts}

    def finish(outputs: Tensors, start: int) -> T:
        made = {
            tensor.name: joined(outputs[tensor.name], tensor, tiles, job.size)
            for tensor in graph.outputs
        }
        return job.finish(made, start // each)

    return replace(
        job,
        count=job.count * each,
        first=job.first * each,
        rows=rows,
        finish=finish,
        size=tiles.size,
        tile=None,
        group=each,
        then=None if job.then is None else partial(_followed, job.then, each),
    )


def _followed(then: Callable[[Any, int], Job[Any]], each: int, result: Any, start: int) -> Job[Any]:
    return then(result, start // each)


def _largest_fitting(job: Job[Any], manifest: Manifest, capacity: Capacity) -> int:
    edges, memory = tile_edges(manifest), capacity.memory
    if not edges:
        most = dict(job.size) | {name: manifest.axes[name].max for name in SIZE_AXES}
        raise InputError("size", f"at most {most}", f"{dict(job.size)}")
    if memory is None:
        return edges[-1]

    def needed(edge: int) -> int:
        # Of square tiles, even for an image that is narrower: few sizes, which are soon known.
        square = {**dict(job.size), "height": edge, "width": edge}
        return capacity.needs(job.graph, tuple(square.items())).first

    return edges[max(0, bisect_right(edges, memory, key=needed) - 1)]


def _check_memory(field: str, job: Job[Any], capacity: Capacity) -> None:
    memory = capacity.memory
    if memory is not None:
        needed = capacity.needs(job.graph, job.size).first
        if needed > memory:
            raise _too_large(field, job, memory, needed)


def _too_large(field: str, job: Job[Any], memory: int, needed: int) -> InputError:
    return InputError(
        field,
        f"one whose images take at most {memory >> 20} MiB each (Limits.memory)",
        f"{[value for _, value in job.size]}, which takes {needed >> 20} MiB",
    )


def _held(graph: Signature, size: Size) -> int:
    """Bytes that one image holds beside the engine: its inputs, its outputs in tiles and whole, and
    the float32 sum of one of them."""
    inputs = sum(t.values(size) * np.dtype(t.dtype).itemsize for t in graph.inputs)
    outputs = [t.values(size) * np.dtype(t.dtype).itemsize for t in graph.outputs]
    return inputs + 3 * sum(outputs) + 4 * max(t.values(size) for t in graph.outputs)
