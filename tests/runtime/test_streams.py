"""Sampling is a pure function: reference vectors, independence of batching, distribution."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from runtime.sampling.streams import MAX_SEED, Counter, Draws, Stream, integers, normals, uniforms

REFERENCE = json.loads((Path(__file__).parent / "reference_streams.json").read_text("utf-8"))


@pytest.mark.parametrize("case", REFERENCE["normals"], ids=lambda case: case["name"])
def test_normals_equal_the_reference_vectors(case: dict) -> None:
    counter = Counter(case["seed"], case["offset"], len(case["hex"]))
    drawn = normals(counter, Stream[case["stream"]], case["values"], case["truncation"])
    # Bit for bit: the float32 values are written as hexadecimal so that nothing is rounded.
    assert [row.tobytes().hex() for row in drawn.astype("<f4")] == case["hex"]


@pytest.mark.parametrize("case", REFERENCE["integers"], ids=lambda case: case["name"])
def test_integers_equal_the_reference_vectors(case: dict) -> None:
    counter = Counter(case["seed"], case["offset"], len(case["values"]))
    assert integers(counter, Stream[case["stream"]], case["below"]).tolist() == case["values"]


def test_philox_matches_the_published_known_answer() -> None:
    # Random123's known-answer test for philox4x64-10 with counter and key all ones; NumPy
    # increments the counter before it generates.
    generator = np.random.Philox(key=(1 << 128) - 1, counter=(1 << 256) - 2)
    expected = [0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0]
    assert generator.random_raw(4).tolist() == expected


@pytest.mark.parametrize("values", [1, 2, 4, 5, 100])
def test_an_item_depends_on_its_number_alone(values: int) -> None:
    whole = normals(Counter(7, 0, 40), Stream.LATENT, values)
    for start, stop in [(0, 1), (3, 17), (39, 40)]:
        part = normals(Counter(7, start, stop - start), Stream.LATENT, values)
        assert part.tobytes() == whole[start:stop].tobytes()
        sliced = normals(Counter(7, 0, 40).slice(start, stop), Stream.LATENT, values)
        assert sliced.tobytes() == whole[start:stop].tobytes()


def test_latents_of_several_requests_are_those_of_each_alone() -> None:
    segments = (
        (Counter(1, 5, 3), None),
        (Counter.of_seeds([4, 9]), None),
        (Counter(2, 0, 1), 0.7),
        (Counter(1, 0, 2), 0.7),
        (Counter(3, 0, 1), None),
    )
    alone = [normals(counter, Stream.LATENT, 6, truncation) for counter, truncation in segments]
    drawn = np.asarray(Draws((2, 3), segments))
    assert np.array_equal(drawn, np.concatenate(alone).reshape(-1, 2, 3))


def test_counters_beyond_64_bits_are_those_of_the_generator() -> None:
    blocks, item = 5000, MAX_SEED - 1
    assert item * blocks > 2**64
    generator = np.random.Philox(key=3 | Stream.LABEL << 64, counter=item * blocks)
    words = generator.random_raw(4 * blocks)
    found = uniforms(Counter(3, item, 1), Stream.LABEL, 4 * blocks)
    assert np.array_equal(found[0], ((words >> np.uint64(12)) + 0.5) * 2.0**-52)


def test_seeds_give_item_zero_of_each() -> None:
    drawn = normals(Counter.of_seeds([5, 9, 5]), Stream.LATENT, 6)
    for row, seed in zip(drawn, [5, 9, 5], strict=True):
        assert row.tobytes() == normals(Counter(seed, 0, 1), Stream.LATENT, 6)[0].tobytes()


def test_streams_and_seeds_are_unrelated() -> None:
    draws = [
        normals(Counter(seed, 0, 500), stream, 8).ravel()
        for seed in (0, 1, MAX_SEED - 1)
        for stream in Stream
    ]
    correlations = np.corrcoef(draws) - np.eye(len(draws))
    # 4,000 values a draw: the standard error of a correlation is 0.016; six of them.
    assert np.abs(correlations).max() < 0.1


def test_far_offsets_neither_overflow_nor_repeat() -> None:
    far = normals(Counter(3, MAX_SEED - 5, 4), Stream.LATENT, 100)
    near = normals(Counter(3, 0, 4), Stream.LATENT, 100)
    assert not np.isin(far, near).any()


def test_normals_are_normal() -> None:
    drawn = normals(Counter(11, 0, 20_000), Stream.LATENT, 5).ravel().astype(np.float64)
    # Kolmogorov-Smirnov over 100,000 seeded draws: fails by chance for one seed in a thousand.
    assert stats.kstest(drawn, "norm").pvalue > 1e-3


@pytest.mark.parametrize("truncation", [0.01, 0.5, 1.0, 3.0])
def test_truncation_is_the_truncated_normal(truncation: float) -> None:
    drawn = normals(Counter(11, 0, 20_000), Stream.LATENT, 5, truncation).ravel()
    assert np.abs(drawn).max() <= np.float32(truncation)
    expected = stats.truncnorm(-truncation, truncation)
    assert stats.kstest(drawn.astype(np.float64), expected.cdf).pvalue > 1e-3


def test_truncation_moves_each_value_towards_zero() -> None:
    free = normals(Counter(2, 0, 100), Stream.LATENT, 10)
    held = normals(Counter(2, 0, 100), Stream.LATENT, 10, 0.7)
    assert (np.sign(free) == np.sign(held)).all()
    assert (np.abs(held) <= np.abs(free) + 1e-6).all()


def test_uniforms_stay_inside_the_open_interval() -> None:
    drawn = uniforms(Counter(1, 0, 100_000), Stream.LABEL, 1)
    assert 0.0 < drawn.min() < drawn.max() < 1.0


def test_labels_are_uniform() -> None:
    counts = np.bincount(integers(Counter(4, 0, 50_000), Stream.LABEL, 10), minlength=10)
    assert stats.chisquare(counts).pvalue > 1e-3
