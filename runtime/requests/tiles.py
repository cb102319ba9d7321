"""Large images in overlapping tiles: where they lie, and how they are put together again.

Positions and lengths are in the units of the axes `height` and `width`: pixels of the images on the
graph's image side. Where a tile lies in latents, masks, noise or larger images follows from the
shapes' expressions of these axes. All tiles of an image have one size, so that they run in batches.

Where the network is local and the overlap is at least twice its reach, tiles are cut in the middle
of their overlaps, and the result is that of the whole image. Elsewhere they are blended by linear
ramps.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.manifest import Manifest
from runtime.artifact.size import SIZE_AXES, Dim, Size, parse
from runtime.artifact.tensors import TensorSpec

Span = tuple[int, int]

_OVERLAP_SHARE = 4
"""Tiles that are blended overlap by this fraction of a tile."""


@dataclass(frozen=True)
class Cuts:
    """One axis in tiles `length` long, from `starts` on; neighbours meet at `seams` where nothing
    is blended."""

    length: int
    starts: tuple[int, ...]
    seams: tuple[int, ...]

    @property
    def total(self) -> int:
        return self.starts[-1] + self.length

    def span(self, number: int) -> Span:
        """From where to where a tile reaches."""
        return self.starts[number], self.starts[number] + self.length

    def own(self, number: int) -> Span:
        """From where to where a tile's values are taken where nothing is blended."""
        bounds = (0, *self.seams, self.total)
        return bounds[number], bounds[number + 1]

    def weights(self, factor: int, divisor: int) -> list[NDArray[np.float32]]:
        """The weight of each of a tile's values, in a tensor of `factor * length / divisor` of
        them: a ramp in each overlap. At every position, all tiles' weights add up to 1."""
        length = factor * self.length // divisor
        starts = [factor * start // divisor for start in self.starts]
        raw: list[NDArray[np.float64]] = []
        for i, start in enumerate(starts):
            inside, weight = np.arange(length) + 0.5, np.ones(length)
            if i:
                weight = np.minimum(weight, inside / (starts[i - 1] + length - start))
            if i + 1 < len(starts):
                weight = np.minimum(weight, (length - inside) / (start + length - starts[i + 1]))
            raw.append(weight)
        total = np.zeros(starts[-1] + length)
        for start, weight in zip(starts, raw, strict=True):
            total[start : start + length] += weight
        return [
            (weight / total[start : start + length]).astype(np.float32)
            for start, weight in zip(starts, raw, strict=True)
        ]


def cuts(total: int, tile: int, overlap: int, step: int) -> Cuts:
    """As few tiles of `tile` as cover `total`, evenly spread; each overlaps the next by `overlap`
    at least. All are multiples of `step`, and so are all starts and seams."""
    if tile >= total:
        return Cuts(total, (0,), ())
    count = math.ceil((total - overlap) / (tile - overlap))
    last = (total - tile) // step
    starts = tuple(last * i // (count - 1) * step for i in range(count))
    seams = tuple(
        (following + start + tile) // 2 // step * step for start, following in pairwise(starts)
    )
    return Cuts(tile, starts, seams)


@dataclass(frozen=True)
class Tiles:
    """An image in tiles, row by row; `blended`, or cut at the seams."""

    height: Cuts
    width: Cuts
    size: Size
    """That of one tile."""
    blended: bool

    def __len__(self) -> int:
        return len(self.height.starts) * len(self.width.starts)

    def box(self, shape: Sequence[Dim], tile: int) -> tuple[slice, ...]:
        """Where a tile lies in a tensor of this shape."""
        return _slices(shape, {name: cut.span(i) for name, cut, i in self._along(tile)})

    def own(self, shape: Sequence[Dim], tile: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Where the values lie that are taken of a tile: in the whole, and in the tile."""
        whole: dict[str, Span] = {}
        inside: dict[str, Span] = {}
        for name, cut, i in self._along(tile):
            first, last = whole[name] = cut.own(i)
            inside[name] = (first - cut.starts[i], last - cut.starts[i])
        return _slices(shape, whole), _slices(shape, inside)

    def weights(self, shape: Sequence[Dim]) -> list[NDArray[np.float32]]:
        """The weights of each tile's values in a tensor of this shape, to be broadcast."""
        rows, columns = (self._weights_along(name, shape) for name in SIZE_AXES)
        return [row * column for row in rows for column in columns]

    def _weights_along(self, axis: str, shape: Sequence[Dim]) -> list[NDArray[np.float32]]:
        cut = self.height if axis == SIZE_AXES[0] else self.width
        for place, dim in enumerate(shape):
            if isinstance(dim, str) and parse(dim)[1] == axis:
                factor, _, divisor = parse(dim)
                lengths = [1] * len(shape)
                lengths[place] = -1
                return [weight.reshape(lengths) for weight in cut.weights(factor, divisor)]
        raise ValueError(f"{axis} is not in {list(shape)}")

    def _along(self, tile: int) -> tuple[tuple[str, Cuts, int], ...]:
        """Each axis with its cuts, and the number of a tile along it."""
        row, column = divmod(tile, len(self.width.starts))
        return (SIZE_AXES[0], self.height, row), (SIZE_AXES[1], self.width, column)


def _slices(shape: Sequence[Dim], spans: Mapping[str, Span]) -> tuple[slice, ...]:
    found: list[slice] = []
    for dim in shape:
        if isinstance(dim, int):
            found.append(slice(None))
            continue
        factor, name, divisor = parse(dim)
        first, last = spans[name]
        found.append(slice(factor * first // divisor, factor * last // divisor))
    return tuple(found)


def tile_edges(manifest: Manifest) -> range:
    """The edges that square tiles may have: multiples of both axes' steps, within their bounds."""
    axes = [manifest.axes[name] for name in SIZE_AXES]
    step = math.lcm(*(axis.multiple_of for axis in axes))
    least = max(2 * step, *(axis.min for axis in axes))
    return range(-(-least // step) * step, min(axis.max for axis in axes) + 1, step)


def tiles_of(manifest: Manifest, graph: str, size: Size, tile: int) -> Tiles:
    """An image of a size in tiles of one of the `tile_edges`."""
    spec, step, chosen = manifest.graphs[graph], tile_edges(manifest).step, dict(size)
    known = spec.tiling
    halo = -(-known.halo // step) * step if known is not None and known.exact else tile
    # Tiles that are mostly overlap would be many: then rather a blend.
    exact = 4 * halo <= tile
    overlap = 2 * halo if exact else max(step, tile // _OVERLAP_SHARE // step * step)
    height, width = (
        cuts(chosen[name], tile, overlap, manifest.axes[name].multiple_of) for name in SIZE_AXES
    )
    chosen |= {"height": height.length, "width": width.length}
    # Between two codes there is none.
    blended = not exact and spec.output("codes") is None
    return Tiles(height, width, tuple(chosen.items()), blended)


def joined(made: NDArray[Any], tensor: TensorSpec, tiles: Tiles, size: Size) -> NDArray[Any]:
    """The images [n, ...] of their tiles [n * len(tiles), ...].

    Blended in float32, and rounded half to even where they are pixels.
    """
    each, shape = len(tiles), tensor.at(size)
    count = len(made) // each
    images = np.empty((count, *shape), made.dtype)
    weights = tiles.weights(tensor.shape) if tiles.blended else []
    for image, parts in zip(images, made.reshape(count, each, *made.shape[1:]), strict=True):
        if tiles.blended:
            total = np.zeros(shape, np.float32)
            for number, (part, weight) in enumerate(zip(parts, weights, strict=True)):
                total[tiles.box(tensor.shape, number)] += part * weight
            image[...] = np.rint(total) if tensor.dtype == "uint8" else total
        else:
            for number, part in enumerate(parts):
                there, here = tiles.own(tensor.shape, number)
                image[there] = part[here]
    return images
