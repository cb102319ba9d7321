"""A row of docs/networks.md: how a network is written, exported, and run by its own library."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
Reference = Callable[[str, Arrays], Arrays]
"""A graph's name and its inputs -> its outputs, computed by the network's own library."""


@dataclass(frozen=True)
class Row:
    """`write(folder)` writes the network's files there, and returns the arguments of `python -m
    export`, without --out; `reference(folder)` reads them again. `sizes`, [height, width], are
    compared beside the default one."""

    name: str
    write: Callable[[Path], Sequence[str]]
    reference: Callable[[Path], Reference]
    sizes: tuple[tuple[int, int], ...] = ()


def floats(images: NDArray[np.uint8], low: float = -1.0, high: float = 1.0) -> NDArray[np.float32]:
    """Images uint8 [B, H, W, C] -> float32 [B, C, H, W] in [low, high]."""
    scaled = images.astype(np.float32) * np.float32((high - low) / 255) + np.float32(low)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def levels(images: NDArray[Any], low: float = -1.0, high: float = 1.0) -> NDArray[np.uint8]:
    """Images float [B, C, H, W] in [low, high] -> uint8 [B, H, W, C]."""
    grey = (images.astype(np.float32) - low) * np.float32(255 / (high - low))
    return np.rint(grey).clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
