"""Counter-based random numbers: image i of seed s is the same on every machine and in any batch.

The generator is Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3")
with key (seed, stream). An item of w values owns ceil(w / 4) consecutive blocks of four 64-bit
words, so the number i alone locates item i of a stream. Bits become uniforms, and uniforms become
normals by the inverse of the normal distribution function. Each value uses exactly one draw, and no
draw is rejected, so no value depends on another.
"""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import groupby
from operator import itemgetter
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

MAX_SEED = 2**53
"""Seeds are integers in [0, 2^53): JSON numbers represent these exactly."""

_N = TypeVar("_N", bound=np.generic)

_WORDS_PER_BLOCK = 4
_WORD = 2**64 - 1


class Stream(IntEnum):
    """One stream for each use, so that one use never changes the numbers of another. The values
    are never reused."""

    LATENT = 0
    LABEL = 1
    MIXTURE_COMPONENT = 2
    POSTERIOR_NOISE = 3
    EXAMPLE_IMAGE = 4
    FURTHER_NOISE = 16
    """The first of the streams of noise inputs, one each, in the manifest's order."""


@dataclass(frozen=True)
class Counter:
    """Which items are drawn: `count` items of one `seed` from number `offset` on or, if `seeds` is
    given, item 0 of each of these seeds; with `same`, item `offset` of `seed`, `count` times."""

    seed: int = 0
    offset: int = 0
    count: int = 0
    seeds: tuple[int, ...] | None = None
    same: bool = False

    @classmethod
    def of_seeds(cls, seeds: Sequence[int]) -> "Counter":
        return cls(count=len(seeds), seeds=tuple(seeds))

    def slice(self, start: int, stop: int) -> "Counter":
        """Items start..stop of this counter."""
        if self.seeds is not None:
            return Counter.of_seeds(self.seeds[start:stop])
        first = self.offset if self.same else self.offset + start
        return Counter(self.seed, first, stop - start, same=self.same)

    def numbers(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The seed of every item, and its number within that seed: [count] each."""
        if self.seeds is not None:
            return np.array(self.seeds, np.int64), np.zeros(self.count, np.int64)
        first = np.full(self.count, self.seed, np.int64)
        if self.same:
            return first, np.full(self.count, self.offset, np.int64)
        return first, np.arange(self.offset, self.offset + self.count, dtype=np.int64)


def repeated(seed: int, count: int) -> Counter:
    """Item 0 of a seed, `count` times."""
    return Counter(seed, 0, count, same=True)


Items = Counter | Sequence[Counter]
"""The items of one counter, or of several one after another: one call then serves many small
requests."""


def uniforms(items: Items, stream: int, values: int) -> NDArray[np.float64]:
    """[count, values] uniforms strictly inside (0, 1), on a grid of 2^-52."""
    # 52 bits, so that adding one half is exact and the result is neither 0 nor 1.
    uniform = (_bits(items, stream, values) >> 12).astype(np.float64)
    uniform += 0.5
    uniform *= 2.0**-52
    return uniform


def normals(
    items: Items, stream: int, values: int, truncation: float | None = None
) -> NDArray[np.float32]:
    """[count, values] standard normals, or normals truncated to [-truncation, truncation].

    The truncated normal uses the same uniforms and the same formula: x = F^-1(F(-t) +
    u (F(t) - F(-t))), so a smaller t moves every value smoothly towards 0.
    """
    # Imported on first use: it costs a tenth of a second.
    from scipy.special import ndtr, ndtri  # pyright: ignore[reportMissingTypeStubs]

    uniform = uniforms(items, stream, values)
    if truncation is None:
        return ndtri(uniform, out=uniform).astype(np.float32)
    low, high = ndtr(-truncation), ndtr(truncation)
    uniform *= high - low
    uniform += low
    normal = ndtri(uniform, out=uniform).astype(np.float32)
    return np.clip(normal, np.float32(-truncation), np.float32(truncation))


class Prior(Protocol):
    """A distribution of latents other than N(0, I)."""

    def latents(self, items: Items, truncation: float | None) -> NDArray[np.float32]:
        """[count, values]: made of the items' normals, which are truncated."""
        ...


@dataclass(frozen=True)
class Draws:
    """Latents that are not drawn yet, [rows, *shape]. Some engines draw those of N(0, I)
    themselves; otherwise numpy converts this object to an array."""

    shape: tuple[int, ...]
    segments: tuple[tuple[Counter, float | None], ...]
    """Which items, and how they are truncated, in the order of the rows."""
    prior: Prior | None = None
    """What they are drawn from; N(0, I) without."""

    def __len__(self) -> int:
        return sum(counter.count for counter, _ in self.segments)

    def __getitem__(self, rows: slice) -> "Draws":
        start, stop, _ = rows.indices(len(self))
        kept: list[tuple[Counter, float | None]] = []
        for counter, truncation in self.segments:
            first, last = max(start, 0), min(stop, counter.count)
            if first < last:
                kept.append((counter.slice(first, last), truncation))
            start, stop = start - counter.count, stop - counter.count
        return replace(self, segments=tuple(kept))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        parts: list[NDArray[np.float32]] = []
        # The segments of one truncation in a row at once.
        for truncation, run in groupby(self.segments, key=itemgetter(1)):
            items = [counter for counter, _ in run]
            if self.prior is not None:
                parts.append(self.prior.latents(items, truncation))
            else:
                parts.append(normals(items, Stream.LATENT, math.prod(self.shape), truncation))
        latents = _joined(parts).reshape(len(self), *self.shape)
        return latents.astype(dtype or np.float32, copy=False)


def integers(items: Items, stream: int, below: int) -> NDArray[np.int64]:
    """[count] integers in [0, below), equally likely to within 2^-52."""
    return (uniforms(items, stream, 1)[:, 0] * below).astype(np.int64)


def _bits(items: Items, stream: int, values: int) -> NDArray[np.uint64]:
    """[count, values] words: `values` of each item."""
    if not isinstance(items, Counter):
        return _joined([_bits(counter, stream, values) for counter in items])
    if items.same:
        one = _bits_of(items.seed, stream, items.offset, 1, values)
        return np.repeat(one, items.count, axis=0)
    if items.seeds is None:
        return _bits_of(items.seed, stream, items.offset, items.count, values)
    rows = [_bits_of(seed, stream, 0, 1, values) for seed in items.seeds]
    return _joined(rows) if rows else np.empty((0, values), np.uint64)


def _bits_of(seed: int, stream: int, first: int, count: int, values: int) -> NDArray[np.uint64]:
    blocks = -(-values // _WORDS_PER_BLOCK)
    # Counters are 256 bits wide: Python's integers carry `first * blocks` without overflow.
    words = _words((seed, stream), first * blocks, count * blocks)
    return words.reshape(count, blocks * _WORDS_PER_BLOCK)[:, :values]


def _joined(parts: Sequence[NDArray[_N]]) -> NDArray[_N]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


_local = threading.local()


def _words(key: tuple[int, int], counter: int, blocks: int) -> NDArray[np.uint64]:
    """The words of `blocks` blocks that follow a counter below 2^128."""
    # One generator per thread, whose state is set for each call. A new generator would read entropy
    # from the system that it does not need, which takes longer than drawing a latent.
    generator: np.random.Philox | None = getattr(_local, "philox", None)
    if generator is None:
        generator = _local.philox = np.random.Philox(key=0)
        _local.state = generator.state | {"buffer": (0,) * _WORDS_PER_BLOCK}
    state: Any = _local.state
    # Words of 64 bits, the least significant first; numpy reads plain integers fastest.
    state["state"] = {"counter": (counter & _WORD, counter >> 64, 0, 0), "key": key}
    generator.state = state  # with the empty buffer of a new generator
    return generator.random_raw(blocks * _WORDS_PER_BLOCK)
