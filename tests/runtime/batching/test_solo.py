"""One image that nothing else waits beside is made by the engine that has all cores."""

import threading
from dataclasses import replace

import pytest

from runtime.batching.batcher import Batcher
from runtime.batching.capacity import FixedCapacity
from runtime.engines.backend import WORTH_SHARING
from tests.runtime.batching.test_callers import Watched, job
from tests.runtime.fakes import WAIT


@pytest.fixture
def shared() -> Watched:
    return Watched()


@pytest.fixture
def solo() -> Watched:
    return Watched()


@pytest.fixture
def batcher(shared: Watched, solo: Watched):
    capacity = FixedCapacity(8, WORTH_SHARING)
    made = Batcher(shared, capacity, queue_images=64, runners=2, solo=solo)
    yield made
    shared.gate.set()
    made.close()


def test_one_image_on_an_idle_model(batcher: Batcher, shared: Watched, solo: Watched) -> None:
    assert batcher.run(job(3, 1)).tolist() == [[6]]
    assert solo.threads == [threading.current_thread().name]
    assert batcher.submit(job(4, 1)).result(WAIT).tolist() == [[8]]
    assert "runner" in solo.threads[1]
    assert not shared.threads


def test_images_that_run_side_by_side_take_a_core_each(
    batcher: Batcher, shared: Watched, solo: Watched
) -> None:
    shared.gate.clear()
    several = batcher.submit(job(1, 2))  # one row for each runner
    assert shared.entered.acquire(timeout=WAIT)
    assert shared.entered.acquire(timeout=WAIT)
    later = batcher.submit(job(5, 1))
    shared.gate.set()
    assert (several.result(WAIT).tolist(), later.result(WAIT).tolist()) == ([[2], [4]], [[10]])
    assert len(shared.threads) >= 2
    assert len(solo.threads) <= 1  # the last one, once all others had ended


def test_a_job_of_the_same_bytes_never_changes_its_engine(
    batcher: Batcher, shared: Watched, solo: Watched
) -> None:
    alone = replace(job(3, 1), alone=True)
    assert batcher.run(alone).tolist() == [[6]]
    assert batcher.submit(alone).result(WAIT).tolist() == [[6]]
    assert len(shared.threads) == 2
    assert not solo.threads


def test_a_quick_image_is_not_worth_it(shared: Watched, solo: Watched) -> None:
    quick = FixedCapacity(8, 0.9 * WORTH_SHARING)
    batcher = Batcher(shared, quick, queue_images=64, runners=2, solo=solo)
    assert batcher.run(job(3, 1)).tolist() == [[6]]
    batcher.close()
    assert not solo.threads
