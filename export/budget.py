"""How many images an export compares, limited by their cost."""

from collections.abc import Mapping, Sequence

from runtime.artifact.bounds import Bounds
from runtime.artifact.size import Size
from runtime.machine import free_memory

MULTIPLY_ADDS = 4_000_000_000_000
"""Of all images that one step of an export makes: minutes on two cores."""
_MEMORY_SHARE = 3
"""One run holds at most this fraction of the free memory: torch holds as much beside it."""


def affordable_bytes() -> int:
    """Bytes that one run of an export may hold."""
    return free_memory() // _MEMORY_SHARE


def affordable(bounds: Bounds, wanted: int, size: Size) -> int:
    """How many of the wanted images one step may make at a size, at least 1."""
    each = max(1, bounds.cost(1, size).multiply_adds)
    return max(1, min(wanted, MULTIPLY_ADDS // each))


def affordable_batches(
    bounds: Mapping[str, Bounds], wanted: Sequence[int], size: Size
) -> tuple[int, ...]:
    """Those batches that every graph can be verified at; 1 where none can."""
    memory = affordable_bytes()
    rows = min(
        min(affordable(each, max(wanted), size), max(1, each.rows(memory, size)))
        for each in bounds.values()
    )
    return tuple(batch for batch in wanted if batch <= rows) or (1,)
