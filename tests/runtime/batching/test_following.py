"""Jobs that another job follows: one request, one future."""

from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.batching.batcher import Batcher
from runtime.batching.capacity import FixedCapacity
from runtime.batching.jobs import Job
from runtime.errors import EngineError, InputError, OverloadedError
from tests.runtime.fakes import WAIT, FakeBackend, Recorder, in_threads


@pytest.fixture
def batcher(backend: FakeBackend, recorder: Recorder) -> Iterator[Batcher]:
    made = Batcher(backend, FixedCapacity(8), queue_images=8, runners=1, observer=recorder)
    yield made
    backend.gate.set()
    made.close()


def doubled(numbers: NDArray[Any], graph: str = "encode") -> Job[NDArray[Any]]:
    rows = np.asarray(numbers, np.float32)[:, None]
    return Job(
        graph,
        len(rows),
        lambda a, b: {"x": rows[a:b]},
        lambda outputs, start: outputs["y"][:, 0],
    )


def twice(numbers: NDArray[Any]) -> Job[list[tuple[int, float]]]:
    """Numbers times four, each with its row's number."""

    def again(result: NDArray[Any], start: int) -> Job[list[tuple[int, float]]]:
        made = doubled(result, "decode")

        def finish(outputs: Any, first: int) -> list[tuple[int, float]]:
            return [(start + i, x) for i, x in enumerate(outputs["y"][:, 0].tolist())]

        return Job(made.graph, made.count, made.rows, finish)

    return doubled(numbers).followed_by(again)


def hold(backend: FakeBackend, batcher: Batcher, made: Job[Any]) -> Any:
    """Submit a job and wait until its first run stands inside the engine."""
    backend.gate.clear()
    future = batcher.submit(made)
    assert backend.entered.acquire(timeout=WAIT)
    return future


@pytest.mark.parametrize("count", [1, 8, 50])
def test_the_future_gives_what_the_second_job_gives(batcher: Batcher, count: int) -> None:
    expected = [(i, 4.0 * i) for i in range(count)]
    assert batcher.submit(twice(np.arange(count))).result(WAIT) == expected
    assert batcher.queued == 0


def test_parts_take_it_along(batcher: Batcher) -> None:
    whole = twice(np.arange(40))
    for part in (whole.part(3, 9), whole.part(1, 30).part(2, 8)):
        assert batcher.submit(part).result(WAIT) == [(i, 4.0 * i) for i in range(3, 9)]


def test_a_full_queue_neither_refuses_nor_blocks_it(
    backend: FakeBackend, batcher: Batcher, recorder: Recorder
) -> None:
    first = hold(backend, batcher, twice(np.arange(4)))
    full = batcher.submit(doubled(np.arange(8)))
    with pytest.raises(OverloadedError):
        batcher.submit(doubled(np.arange(1)), wait=False)
    backend.gate.set()
    assert first.result(WAIT) == [(i, 4.0 * i) for i in range(4)]
    assert len(full.result(WAIT)) == 8
    assert batcher.queued == 0
    assert recorder.of("queued") == [(4,), (8,), (4,)]
    assert recorder.of("rejected") == [(1, "overloaded")]


def test_it_is_cancelled_with_the_first(
    backend: FakeBackend, batcher: Batcher, recorder: Recorder
) -> None:
    backend.free = 1  # the second job's run is held
    future = hold(backend, batcher, twice(np.arange(20)).part(0, 4))
    assert backend.entered.acquire(timeout=WAIT)
    waiting = batcher.submit(twice(np.arange(3)))
    assert future.cancel()
    assert waiting.cancel()
    backend.gate.set()
    with pytest.raises(CancelledError):
        future.result(WAIT)
    batcher.close()
    assert batcher.queued == 0
    assert [len(batch) for batch in backend.batches] == [4, 4]
    assert sorted(recorder.of("rejected")) == [(3, "cancelled"), (4, "cancelled")]


def test_cancelled_during_the_first_run_it_is_never_made(
    backend: FakeBackend, batcher: Batcher, recorder: Recorder
) -> None:
    future = hold(backend, batcher, twice(np.arange(4)))
    assert future.cancel()
    backend.gate.set()
    batcher.close()
    assert [len(batch) for batch in backend.batches] == [4]
    assert recorder.of("rejected") == [(4, "cancelled")]


def test_its_failure_is_the_requests_failure(
    backend: FakeBackend, batcher: Batcher, recorder: Recorder
) -> None:
    def refused(result: Any, start: int) -> Job[Any]:
        raise InputError("latents", "finite values", "others")

    with pytest.raises(InputError, match="latents"):
        batcher.submit(doubled(np.arange(2)).followed_by(refused)).result(WAIT)
    assert backend.entered.acquire(timeout=WAIT)
    backend.free = 2
    future = hold(backend, batcher, twice(np.arange(4)))
    assert backend.entered.acquire(timeout=WAIT)
    backend.failures = [RuntimeError("out of registers")]
    backend.gate.set()
    with pytest.raises(EngineError, match="decode failed: out of registers"):
        future.result(WAIT)
    assert batcher.submit(twice(np.arange(1))).result(WAIT) == [(0, 0.0)]
    assert recorder.of("rejected") == [(2, "failed"), (4, "failed")]


def test_closing_finishes_it(backend: FakeBackend) -> None:
    batcher = Batcher(backend, FixedCapacity(4), queue_images=64, runners=3)
    futures = [batcher.submit(twice(np.arange(n))) for n in (1, 4, 30)]
    batcher.close()
    assert [len(future.result(0)) for future in futures] == [1, 4, 30]


def test_both_jobs_are_timed(batcher: Batcher) -> None:
    stages: list[str] = []
    timed = replace(twice(np.arange(2)), timed=lambda stage, began, ended: stages.append(stage))
    batcher.submit(timed).result(WAIT)
    assert stages == ["queue", "engine", "queue", "engine"]


def test_many_threads(backend: FakeBackend) -> None:
    batcher = Batcher(backend, FixedCapacity(8), queue_images=20, runners=3)
    wrong: list[int] = []

    def client(k: int) -> None:
        for i in range(20):
            count = (k * 7 + i) % 23 + 1
            found = batcher.submit(twice(np.arange(count))).result(WAIT)
            if found != [(n, 4.0 * n) for n in range(count)]:
                wrong.append(count)

    in_threads(client, 8)
    assert not wrong
    assert batcher.queued == 0
    batcher.close()
