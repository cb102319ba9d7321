"""The queue against a tiny fake backend that a test can hold, fail and inspect."""

import threading
import time
import weakref
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.batching.batcher import Batcher
from runtime.batching.capacity import FixedCapacity
from runtime.batching.jobs import Job
from runtime.engines.backend import Tensors
from runtime.errors import EngineError, InputError, OverloadedError
from tests.runtime.fakes import WAIT, FakeBackend, Recorder, ShortBackend, in_threads


@pytest.fixture
def batcher(backend: FakeBackend, recorder: Recorder) -> Iterator[Batcher]:
    made = Batcher(backend, FixedCapacity(8), queue_images=64, runners=1, observer=recorder)
    yield made
    backend.gate.set()
    made.close()


def job(first: float, count: int, graph: str = "decode") -> Job[NDArray[Any]]:
    numbers = np.arange(first, first + count, dtype=np.float32)[:, None]
    return Job(graph, count, lambda a, b: {"x": numbers[a:b]}, lambda outputs, start: outputs["y"])


def hold(backend: FakeBackend, batcher: Batcher) -> None:
    """Close the gate and wait until the only runner stands inside the engine."""
    backend.gate.clear()
    batcher.submit(job(-1, 1))
    assert backend.entered.acquire(timeout=WAIT)


def test_every_job_gets_its_own_rows(batcher: Batcher) -> None:
    sizes = [1, 3, 8, 20, 1, 64, 5]
    futures = [batcher.submit(job(100 * i, n)) for i, n in enumerate(sizes)]
    for i, (n, future) in enumerate(zip(sizes, futures, strict=True)):
        expected = 2 * np.arange(100 * i, 100 * i + n, dtype=np.float32)
        np.testing.assert_array_equal(future.result(WAIT)[:, 0], expected)


def test_batches_form_while_the_engine_is_busy(backend: FakeBackend, batcher: Batcher) -> None:
    hold(backend, batcher)
    futures = [batcher.submit(job(i, 1)) for i in range(10)]
    backend.gate.set()
    for future in futures:
        future.result(WAIT)
    assert [len(batch) for batch in backend.batches] == [1, 8, 2]


def test_a_large_job_does_not_starve_small_ones(backend: FakeBackend, batcher: Batcher) -> None:
    hold(backend, batcher)
    large = batcher.submit(job(1000, 40))
    small = batcher.submit(job(0, 2))
    backend.gate.set()
    small.result(WAIT)
    large.result(WAIT)
    # The small job rides in the second batch after the hold, not behind all five of the large.
    assert backend.batches[2][:2] == [0.0, 1.0]
    assert len(backend.batches[2]) == 8


def test_a_job_that_is_alone_is_one_whole_batch(recorder: Recorder) -> None:
    backend = FakeBackend()
    batcher = Batcher(backend, FixedCapacity(8), queue_images=64, runners=2, observer=recorder)
    backend.gate.clear()
    for _ in range(2):
        batcher.submit(job(-1, 1))
        assert backend.entered.acquire(timeout=WAIT)
    alone = [batcher.submit(replace(job(100 * i, 3), alone=True)) for i in range(4)]
    others = [batcher.submit(job(1000 + i, 1)) for i in range(2)]
    backend.gate.set()
    for future in (*alone, *others):
        future.result(WAIT)
    batcher.close()
    batches = [batch for batch in backend.batches if batch != [-1.0]]
    for i in range(4):
        assert [100.0 * i, 100.0 * i + 1, 100.0 * i + 2] in batches
    assert sorted(value for batch in batches for value in batch if value >= 1000) == [1000, 1001]


def test_graphs_do_not_mix_and_keep_their_order(backend: FakeBackend, batcher: Batcher) -> None:
    hold(backend, batcher)
    futures = [
        batcher.submit(job(0, 2)),
        batcher.submit(job(10, 2, "encode")),
        batcher.submit(job(20, 2)),
        batcher.submit(job(30, 2, "encode")),
    ]
    backend.gate.set()
    for future in futures:
        future.result(WAIT)
    assert backend.batches[1:] == [[0.0, 1.0, 20.0, 21.0], [10.0, 11.0, 30.0, 31.0]]


def test_runners_share_one_job(backend: FakeBackend) -> None:
    batcher = Batcher(backend, FixedCapacity(8), queue_images=64, runners=2)
    backend.gate.clear()
    future = batcher.submit(job(0, 8))
    assert backend.entered.acquire(timeout=WAIT)
    assert backend.entered.acquire(timeout=WAIT)
    backend.gate.set()
    np.testing.assert_array_equal(future.result(WAIT)[:, 0], 2 * np.arange(8))
    assert sorted(len(batch) for batch in backend.batches) == [4, 4]
    batcher.close()


@pytest.mark.parametrize(
    ("seconds", "batches"), [(1e-2, [4, 4]), (2e-4, [3, 5]), (1e-4, [8]), (1e-9, [8])]
)
def test_what_takes_no_time_is_not_split(
    backend: FakeBackend, seconds: float, batches: list[int]
) -> None:
    batcher = Batcher(backend, FixedCapacity(8, seconds), queue_images=64, runners=2)
    backend.gate.clear()
    future = batcher.submit(job(0, 8))
    assert all(backend.entered.acquire(timeout=WAIT) for _ in batches)
    backend.gate.set()
    future.result(WAIT)
    assert sorted(len(batch) for batch in backend.batches) == batches
    batcher.close()


def test_a_full_queue_refuses_or_waits(
    backend: FakeBackend, batcher: Batcher, recorder: Recorder
) -> None:
    hold(backend, batcher)
    batcher.submit(job(0, 32))
    batcher.submit(job(0, 32))
    with pytest.raises(OverloadedError, match="holds 64 images and its limit is 64"):
        batcher.submit(job(0, 1), wait=False)
    assert ("rejected", 1, "overloaded") in recorder.events
    waiting = threading.Thread(target=lambda: batcher.submit(job(7, 1)).result(WAIT))
    waiting.start()
    backend.gate.set()
    waiting.join(WAIT)
    assert not waiting.is_alive()


def test_a_huge_job_fits_by_its_window(backend: FakeBackend, batcher: Batcher) -> None:
    hold(backend, batcher)
    huge = batcher.submit(job(0, 1000), wait=False)
    assert batcher.queued == 32
    batcher.submit(job(0, 1), wait=False)
    backend.gate.set()
    assert len(huge.result(WAIT)) == 1000
    assert batcher.queued == 0


def test_cancelled_work_never_reaches_the_engine(
    backend: FakeBackend, batcher: Batcher, recorder: Recorder
) -> None:
    hold(backend, batcher)
    gone = batcher.submit(job(500, 20))
    kept = batcher.submit(job(0, 1))
    assert gone.cancel()
    backend.gate.set()
    kept.result(WAIT)
    assert backend.batches[1:] == [[0.0]]
    assert ("rejected", 20, "cancelled") in recorder.events
    assert batcher.queued == 0
    with pytest.raises(CancelledError):
        gone.result(WAIT)


def test_cancelling_stops_a_job_halfway(backend: FakeBackend, batcher: Batcher) -> None:
    backend.gate.clear()
    future = batcher.submit(job(0, 800))
    assert backend.entered.acquire(timeout=WAIT)
    assert future.cancel()
    backend.gate.set()
    batcher.submit(job(0, 1)).result(WAIT)
    assert len(backend.batches) == 2


def test_cancelling_frees_room_at_once(backend: FakeBackend, batcher: Batcher) -> None:
    hold(backend, batcher)
    first, second = batcher.submit(job(0, 32)), batcher.submit(job(0, 32))
    waited: list[float] = []
    waiting = threading.Thread(
        target=lambda: waited.extend(batcher.submit(job(7, 2)).result(WAIT)[:, 0])
    )
    waiting.start()
    first.cancel()
    second.cancel()
    # The only runner is still held: room came from the cancellations alone.
    assert futures.wait([first, second], WAIT).not_done == set()
    batcher.submit(job(0, 1), wait=False)
    backend.gate.set()
    waiting.join(WAIT)
    assert waited == [14, 16]
    assert len(batcher.submit(job(0, 64)).result(WAIT)) == 64


def test_who_finds_the_queue_full_is_served_in_the_order_of_arrival(
    backend: FakeBackend, batcher: Batcher
) -> None:
    hold(backend, batcher)
    full = [batcher.submit(job(0, 32)), batcher.submit(job(0, 32))]
    large = batcher.enqueue(job(1000, 30))
    with pytest.raises(OverloadedError):  # no overtaking, even where a small one would fit
        batcher.submit(job(2000, 1), wait=False)
    small = batcher.enqueue(job(3000, 1))
    assert batcher.queued == 64
    full[0].cancel()
    assert batcher.queued == 63
    backend.gate.set()
    for future in (full[1], large, small):
        future.result(WAIT)
    flat = [number for batch in backend.batches for number in batch]
    assert flat.index(1000) < flat.index(3000)


def test_work_in_line_can_be_cancelled_and_is_finished_on_closing(
    backend: FakeBackend, batcher: Batcher, recorder: Recorder
) -> None:
    hold(backend, batcher)
    batcher.submit(job(0, 64))
    batcher.submit(job(0, 32))
    gone, kept = batcher.enqueue(job(500, 32)), batcher.enqueue(job(7, 1))
    assert gone.cancel()
    assert ("rejected", 32, "cancelled") in recorder.events
    backend.gate.set()
    batcher.close()
    assert kept.result(0)[0, 0] == 14


def interrupted(*_: Any) -> Any:
    raise KeyboardInterrupt


def test_a_caller_that_is_interrupted_in_line_leaves_it(
    backend: FakeBackend, batcher: Batcher, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(backend, batcher)
    batcher.submit(job(0, 32))
    batcher.submit(job(0, 32))
    monkeypatch.setattr(batcher._queue._freed, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        batcher.submit(job(500, 32))
    assert ("rejected", 32, "cancelled") in recorder.events
    monkeypatch.undo()
    backend.gate.set()
    batcher.close()
    assert max(number for batch in backend.batches for number in batch) < 500


def test_the_work_of_a_caller_that_is_interrupted_is_cancelled(
    backend: FakeBackend, batcher: Batcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(backend, batcher)
    monkeypatch.setattr(Future, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        batcher.run(job(500, 32))
    monkeypatch.undo()
    backend.gate.set()
    batcher.close()  # as a `with` block does that Ctrl-C ends
    assert backend.batches == [[-1.0]]


def test_the_garbage_collector_may_cancel_in_a_thread_that_holds_the_lock(
    backend: FakeBackend, batcher: Batcher
) -> None:
    hold(backend, batcher)
    forgotten = batcher.submit(job(500, 20))
    with batcher._queue._lock:
        assert forgotten.cancel()  # what a stream in a reference cycle does when it is collected
    kept = batcher.submit(job(0, 1))
    backend.gate.set()
    kept.result(WAIT)
    assert backend.batches[1:] == [[0.0]]
    assert futures.wait([forgotten], WAIT).not_done == set()


def test_idle_runners_hold_on_to_nothing(batcher: Batcher) -> None:
    class Result:
        pass

    made = Job("decode", 8, job(0, 8).rows, lambda outputs, start: Result())
    future = batcher.submit(made)
    result = weakref.ref(future.result(WAIT))
    del future, made
    give_up = time.monotonic() + WAIT
    while result() is not None and time.monotonic() < give_up:
        time.sleep(0.001)
    assert result() is None


def test_an_engine_that_loses_rows_is_an_error_and_the_runner_lives() -> None:
    batcher = Batcher(ShortBackend(), FixedCapacity(8), queue_images=64, runners=1)
    with pytest.raises(EngineError, match="decode: y: expected 3 rows, found 1"):
        batcher.submit(job(0, 3)).result(WAIT)
    assert len(batcher.submit(job(0, 1)).result(WAIT)) == 1
    batcher.close()


def test_results_beyond_memory_fail_alone(batcher: Batcher) -> None:
    vast = Job("decode", 1 << 55, job(0, 8).rows, lambda outputs, start: outputs["y"])
    with pytest.raises(EngineError, match="not enough memory for all images at once"):
        batcher.submit(vast).result(WAIT)
    assert len(batcher.submit(job(0, 4)).result(WAIT)) == 4


def test_an_observer_that_fails_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Recorder):
        def queued(self, graph: str, images: int) -> None:
            raise RuntimeError("no disk for metrics")

        def rejected(self, graph: str, images: int, reason: str) -> None:
            raise RuntimeError("no disk for metrics")

    backend = FakeBackend()
    batcher = Batcher(backend, FixedCapacity(8), queue_images=64, runners=1, observer=Failing())
    hold(backend, batcher)
    assert batcher.submit(job(0, 3)).cancel()
    backend.gate.set()
    assert len(batcher.submit(job(0, 3)).result(WAIT)) == 3
    batcher.close()
    assert "no disk for metrics" in caplog.text


def test_parts_of_a_job_are_its_rows(batcher: Batcher) -> None:
    part = job(0, 30).part(10, 30).part(5, 8)
    np.testing.assert_array_equal(batcher.submit(part).result(WAIT)[:, 0], [30, 32, 34])


def test_a_failing_engine_fails_its_batch_alone(backend: FakeBackend, batcher: Batcher) -> None:
    backend.failures = [RuntimeError("out of registers")]
    with pytest.raises(EngineError, match="decode failed: out of registers"):
        batcher.submit(job(0, 4)).result(WAIT)
    assert len(batcher.submit(job(0, 4)).result(WAIT)) == 4


def test_a_failed_job_of_many_slices_fails_once_and_leaves(
    backend: FakeBackend, batcher: Batcher
) -> None:
    backend.failures = [EngineError("first"), EngineError("second")]
    with pytest.raises(EngineError, match="first"):
        batcher.submit(job(0, 64)).result(WAIT)
    backend.failures.clear()
    assert len(batcher.submit(job(0, 1)).result(WAIT)) == 1
    assert len(backend.batches) == 2


def test_one_bad_member_fails_alone(backend: FakeBackend, batcher: Batcher) -> None:
    def bad_rows(start: int, stop: int) -> Tensors:
        raise InputError("latents", "good ones", "bad ones")

    hold(backend, batcher)
    bad = batcher.submit(Job("decode", 2, bad_rows, lambda outputs, start: outputs["y"]))
    good = batcher.submit(job(5, 2))
    backend.gate.set()
    with pytest.raises(InputError, match="good ones"):
        bad.result(WAIT)
    np.testing.assert_array_equal(good.result(WAIT)[:, 0], [10, 12])


def test_a_failing_finish_reaches_the_caller(batcher: Batcher) -> None:
    def finish(outputs: Tensors, start: int) -> None:
        raise EngineError("not finite")

    failing = Job("decode", 1, job(0, 1).rows, finish)
    with pytest.raises(EngineError, match="not finite"):
        batcher.submit(failing).result(WAIT)


def test_closing_finishes_what_is_queued_and_takes_no_more(backend: FakeBackend) -> None:
    batcher = Batcher(backend, FixedCapacity(8), queue_images=64, runners=2)
    futures = [batcher.submit(job(0, 30)) for _ in range(3)]
    batcher.close()
    assert all(len(future.result(0)) == 30 for future in futures)
    with pytest.raises(EngineError, match="closed"):
        batcher.submit(job(0, 1))


def test_many_threads_many_sizes(backend: FakeBackend) -> None:
    batcher = Batcher(backend, FixedCapacity(8), queue_images=40, runners=3)
    wrong: list[float] = []

    def client(k: int) -> None:
        for i in range(30):
            first, count = 1000 * k + i, (k * 7 + i) % 23 + 1
            rows = batcher.submit(job(first, count)).result(WAIT)[:, 0]
            if not np.array_equal(rows, 2 * np.arange(first, first + count, dtype=np.float32)):
                wrong.append(first)

    in_threads(client, 8)
    assert not wrong
    assert batcher.queued == 0
    batcher.close()
