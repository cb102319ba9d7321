"""Sizes that do not mix, and bytes: what the queue holds and what runs hold together."""

import threading
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.artifact.size import Size
from runtime.batching.batcher import Batcher
from runtime.batching.capacity import Capacity, Needs
from runtime.batching.jobs import Job
from runtime.errors import OverloadedError
from tests.runtime.fakes import WAIT, FakeBackend, in_threads


def of_height(height: int) -> Size:
    return (("height", height),)


SMALL, LARGE = of_height(1), of_height(10)


class PixelCapacity:
    """A row holds as many bytes as its height says."""

    def __init__(self, memory: int | None = None) -> None:
        self.memory = memory

    def needs(self, graph: str, size: Size) -> Needs:
        height = dict(size)["height"]
        return Needs(4 if size == LARGE else 8, height, height, height)


def job(first: float, count: int, size: Size = SMALL) -> Job[NDArray[Any]]:
    numbers = np.arange(first, first + count, dtype=np.float32)[:, None]
    finish = lambda outputs, start: outputs["y"]  # noqa: E731
    return Job("decode", count, lambda a, b: {"x": numbers[a:b]}, finish, size)


def batcher_of(
    backend: FakeBackend, capacity: Capacity, *, runners: int = 1, queue_bytes: int | None = None
) -> Batcher:
    return Batcher(backend, capacity, queue_images=64, queue_bytes=queue_bytes, runners=runners)


def hold(backend: FakeBackend, batcher: Batcher, made: Job[Any]) -> None:
    backend.gate.clear()
    batcher.submit(made)
    assert backend.entered.acquire(timeout=WAIT)


def test_sizes_do_not_mix_and_have_their_own_batches() -> None:
    backend = FakeBackend()
    batcher = batcher_of(backend, PixelCapacity())
    hold(backend, batcher, job(-1, 1))
    futures = [
        batcher.submit(job(0, 2)),
        batcher.submit(job(10, 6, LARGE)),
        batcher.submit(job(20, 3)),
    ]
    backend.gate.set()
    for future in futures:
        future.result(WAIT)
    assert backend.batches[1:] == [[0, 1, 20, 21, 22], [10, 11, 12, 13], [14, 15]]
    batcher.close()


def test_a_queue_full_of_bytes_refuses_and_says_so() -> None:
    backend = FakeBackend()
    batcher = batcher_of(backend, PixelCapacity(), queue_bytes=100)
    hold(backend, batcher, job(-1, 1))
    waiting = batcher.submit(job(0, 9, LARGE))
    with pytest.raises(OverloadedError, match=r"holds 90 bytes .* limit is 100: .*queue_bytes"):
        batcher.submit(job(0, 2, LARGE), wait=False)
    batcher.submit(job(0, 1, LARGE), wait=False)
    batcher.submit(job(0, 40, of_height(0)), wait=False)  # of no bytes
    with pytest.raises(OverloadedError, match="images and its limit is 64"):
        batcher.submit(job(0, 32, of_height(0)), wait=False)
    assert waiting.cancel()
    batcher.submit(job(0, 3, of_height(30)), wait=False)
    backend.gate.set()
    batcher.close()


@pytest.mark.parametrize("row_bytes", [30, 1000])
def test_a_job_larger_than_the_queue_counts_by_its_window(row_bytes: int) -> None:
    backend = FakeBackend()
    batcher = batcher_of(backend, PixelCapacity(), queue_bytes=100)
    hold(backend, batcher, job(-1, 1))
    huge = batcher.submit(job(0, 50, of_height(row_bytes)), wait=False)
    assert batcher.queued == max(1, 100 // row_bytes)
    with pytest.raises(OverloadedError, match="bytes"):
        batcher.submit(job(0, 1, of_height(20)), wait=False)
    backend.gate.set()
    assert len(huge.result(WAIT)) == 50
    batcher.submit(job(0, 1, of_height(100)), wait=False).result(WAIT)
    batcher.close()


def test_runs_take_only_the_rows_that_fit_into_memory() -> None:
    backend = FakeBackend()
    batcher = batcher_of(backend, PixelCapacity(25), runners=2)
    hold(backend, batcher, job(0, 1, LARGE))
    second = batcher.submit(job(10, 4, LARGE))
    assert backend.entered.acquire(timeout=WAIT)
    assert backend.batches == [[0], [10]]  # 10 bytes each: no third row fits
    backend.gate.set()
    np.testing.assert_array_equal(second.result(WAIT)[:, 0], [20, 22, 24, 26])
    batcher.close()


def test_a_runner_waits_until_a_run_ends_and_one_row_is_always_run() -> None:
    backend = FakeBackend()
    batcher = batcher_of(backend, PixelCapacity(5), runners=3)
    hold(backend, batcher, job(0, 3, LARGE))
    waiting = batcher.submit(job(10, 1, LARGE))
    assert not backend.entered.acquire(timeout=0.05)
    assert backend.batches == [[0]]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    backend.gate.set()
    closing.join(WAIT)
    assert not closing.is_alive()
    assert waiting.result(0)[0, 0] == 20
    assert sorted(backend.batches) == [[0], [1], [2], [10]]


def test_a_smaller_job_goes_ahead_when_the_one_that_waits_for_memory_is_cancelled() -> None:
    backend = FakeBackend()
    batcher = batcher_of(backend, PixelCapacity(12), runners=2)
    hold(backend, batcher, job(0, 1, LARGE))
    waiting, small = batcher.submit(job(10, 1, LARGE)), batcher.submit(job(20, 2))
    assert waiting.cancel()
    assert backend.entered.acquire(timeout=WAIT)
    backend.gate.set()
    assert len(small.result(WAIT)) == 2
    assert backend.batches[0] == [0]
    assert [10] not in backend.batches
    batcher.close()


@pytest.mark.parametrize(("left", "fits"), [(-1, 0), (9, 0), (10, 1), (39, 3), (40, 4), (99, 4)])
def test_fitting_rows(left: int, fits: int) -> None:
    assert PixelCapacity().needs("decode", LARGE).fitting(4, left) == fits


def test_many_threads_many_sizes_within_memory() -> None:
    class Watching(FakeBackend):
        held = peak = 0
        lock = threading.Lock()

        def run(self, graph: Any, inputs: Any, out: Any = None) -> Any:
            # Rows of the large size have numbers from 1000 on.
            held = sum(10 if x >= 1000 else 1 for x in inputs["x"][:, 0])
            with self.lock:
                self.held += held
                self.peak = max(self.peak, self.held)
            result = super().run(graph, inputs, out)
            with self.lock:
                self.held -= held
            return result

    backend = Watching()
    batcher = batcher_of(backend, PixelCapacity(30), runners=4, queue_bytes=50)

    def client(k: int) -> None:
        for i in range(20):
            count = (k * 7 + i) % 11 + 1
            made = job(1000, count, LARGE) if (k + i) % 2 else job(0, count)
            assert len(batcher.submit(made).result(WAIT)) == count

    in_threads(client, 6)
    batcher.close()
    assert batcher.queued == 0
    assert 0 < backend.peak <= 30
