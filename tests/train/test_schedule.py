"""Data order, seeds and learning rate as functions of the step."""

import numpy as np
import pytest

from train.schedule import one_cycle, order, seed_of


def test_order_visits_every_image_once_an_epoch() -> None:
    rows = np.concatenate([order(3, 10, start, 4) for start in range(0, 40, 4)])
    for epoch in rows.reshape(4, 10):
        assert sorted(epoch) == list(range(10))


def test_order_depends_on_the_position_only() -> None:
    assert order(3, 10, 0, 40)[17:23].tolist() == order(3, 10, 17, 6).tolist()


def test_order_spans_epochs_when_the_batch_is_larger_than_the_set() -> None:
    assert np.bincount(order(0, 5, 0, 20)).tolist() == [4] * 5


def test_order_changes_with_seed_and_epoch() -> None:
    first, second = order(0, 100, 0, 200).reshape(2, 100)
    assert first.tolist() != second.tolist()
    assert first.tolist() != order(1, 100, 0, 100).tolist()


def test_seeds_of_neighbouring_steps_and_streams_differ() -> None:
    seeds = {seed_of(s, stream, k) for s in range(3) for stream in range(3) for k in range(50)}
    assert len(seeds) == 450
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_one_cycle_rises_then_falls_to_zero() -> None:
    factors = [one_cycle(step, 100) for step in range(101)]
    assert factors[0] == pytest.approx(1 / 25)
    assert factors[30] == 1.0
    assert factors[100] == pytest.approx(0.0)
    assert all(np.diff(factors[:31]) > 0)
    assert all(np.diff(factors[30:]) < 0)
