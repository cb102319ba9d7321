"""Where a data set's pixels lie: in memory, or in a file that is mapped into it."""

import math
import tempfile

import numpy as np

from runtime.images import UInt8Array
from runtime.machine import free_memory

_SHARE = 0.5
"""Of the memory that is free, so much may be filled by pictures."""


def room_for(shape: tuple[int, ...], limit: int | None = None) -> UInt8Array:
    """An array of bytes to be filled, of more than `limit` bytes (half of the free memory) in a
    temporary file without a name (in TMPDIR), which the system reads back as it is needed."""
    size = math.prod(shape)
    limit = int(free_memory() * _SHARE) if limit is None else limit
    if size <= limit:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)
