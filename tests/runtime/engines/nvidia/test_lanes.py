"""Batches of any size on buckets of a few."""

import pytest

from runtime.engines.nvidia.lanes import split

BUCKETS = (1, 16, 64, 256)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (1, (1,)),
        (2, (16,)),
        (16, (16,)),
        (17, (64,)),
        (64, (64,)),
        (65, (64, 1)),
        (80, (64, 16)),
        (200, (256,)),
        (256, (256,)),
        (257, (256, 1)),
        (1000, (256, 256, 256, 256)),
    ],
)
def test_padding_is_weighed_against_further_runs(rows: int, expected: tuple[int, ...]) -> None:
    assert split(rows, BUCKETS) == expected


@pytest.mark.parametrize("buckets", [(1,), (4,), (3, 7), BUCKETS, (1, 4096)])
def test_every_row_has_its_place(buckets: tuple[int, ...]) -> None:
    for rows in (*range(1, 70), 255, 256, 257, 5000):
        parts = split(rows, buckets)
        assert set(parts) <= set(buckets)
        assert sum(parts[:-1]) < rows <= sum(parts)
