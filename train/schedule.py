"""What a step takes from its number alone: data order, random seed, learning rate."""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def seed_of(seed: int, stream: int, *where: int) -> int:
    """A 32-bit generator seed, unrelated between neighbouring seeds, streams and places in them:
    a step, or a part of a step."""
    return int(np.random.SeedSequence((seed, stream, *where)).generate_state(1)[0])


def order(seed: int, size: int, start: int, count: int) -> NDArray[np.int64]:
    """Positions `start` to `start + count` of an endless row of shuffles of range(size)."""
    first, last = start // size, (start + count - 1) // size
    shuffles = [_shuffle(seed, epoch, size) for epoch in range(first, last + 1)]
    begin = start - first * size
    return np.concatenate(shuffles)[begin : begin + count]


def balanced_order(
    seed: int, labels: NDArray[np.int64], start: int, count: int
) -> NDArray[np.int64]:
    """The same with each class in turn: place p is the (p // K)-th of an endless row of shuffles of
    class p % K. `labels` [N] of K classes, none of them empty."""
    classes = int(labels.max()) + 1
    places = np.empty(count, np.int64)
    for label in range(classes):
        inside = np.arange((label - start) % classes, count, classes)
        if len(inside):
            members, first = np.flatnonzero(labels == label), (start + int(inside[0])) // classes
            own = seed_of(seed, label)  # or classes of one size would always come in the same pairs
            places[inside] = members[order(own, len(members), first, len(inside))]
    return places


@lru_cache(maxsize=2)
def _shuffle(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(size)


def one_cycle(step: int, steps: int) -> float:
    """Factor on the learning rate: by cosines from 1/25 up to 1 in 30% of the steps, then to 0.

    Smith and Topin (2018), arXiv:1708.07120, with cosine instead of linear ramps.
    """
    top = max(1.0, 0.3 * steps)
    if step < top:
        return 1 / 25 + 24 / 25 * 0.5 * (1 - math.cos(math.pi * step / top))
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - top) / max(1.0, steps - top))))
