"""One row on an idle model runs in its caller's thread, with the accounting of every other run."""

import threading
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.batching.batcher import Batcher
from runtime.batching.capacity import FixedCapacity
from runtime.batching.jobs import Job
from runtime.engines.backend import Inputs, Tensors
from runtime.errors import EngineError
from tests.runtime.fakes import WAIT, FakeBackend, Recorder


class Watched(FakeBackend):
    """Notes which threads run it."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[str] = []

    def run(self, graph: str, inputs: Inputs, out: Tensors | None = None) -> Tensors:
        self.threads.append(threading.current_thread().name)
        return super().run(graph, inputs, out)


@pytest.fixture
def backend() -> Watched:
    return Watched()


@pytest.fixture
def batcher(backend: Watched, recorder: Recorder):
    made = Batcher(backend, FixedCapacity(8), queue_images=64, runners=2, observer=recorder)
    yield made
    backend.gate.set()
    made.close()


def job(first: float, count: int) -> Job[NDArray[Any]]:
    numbers = np.arange(first, first + count, dtype=np.float32)[:, None]
    return Job("decode", count, lambda a, b: {"x": numbers[a:b]}, lambda o, start: o["y"])


def test_an_idle_model_runs_one_row_at_once(
    batcher: Batcher, backend: Watched, recorder: Recorder
) -> None:
    assert batcher.run(job(3, 1)).tolist() == [[6]]
    assert backend.threads == [threading.current_thread().name]
    assert [kind for kind, *_ in recorder.events] == ["queued", "taken", "run"]
    assert len(batcher.run(job(0, 5))) == 5
    assert all("runner" in name for name in backend.threads[1:])


def test_what_another_job_follows_is_queued(batcher: Batcher, backend: Watched) -> None:
    # Else closing would end the runners before they are given the job that follows.
    followed = job(3, 1).followed_by(lambda result, start: job(float(result[0, 0]), 1))
    assert batcher.run(followed).tolist() == [[12]]
    assert all("runner" in name for name in backend.threads)


def test_a_busy_model_queues_it(batcher: Batcher, backend: Watched) -> None:
    backend.gate.clear()
    first = batcher.submit(job(1, 1))
    assert backend.entered.acquire(timeout=WAIT)

    def open_gate() -> None:
        backend.entered.acquire(timeout=WAIT)  # the other runner is inside, too
        backend.gate.set()

    opening = threading.Thread(target=open_gate)
    opening.start()
    assert batcher.run(job(2, 1)).tolist() == [[4]]
    assert first.result(WAIT).tolist() == [[2]]
    opening.join(WAIT)
    assert all("runner" in name for name in backend.threads)


def test_others_are_served_while_a_caller_runs(batcher: Batcher, backend: Watched) -> None:
    backend.gate.clear()
    caller = threading.Thread(target=lambda: batcher.run(job(1, 1)), name="caller")
    caller.start()
    assert backend.entered.acquire(timeout=WAIT)
    waiting = batcher.submit(job(2, 1))
    assert backend.entered.acquire(timeout=WAIT)  # a runner is inside beside the caller
    backend.gate.set()
    assert waiting.result(WAIT).tolist() == [[4]]
    caller.join(WAIT)
    assert backend.threads[0] == "caller"
    assert "runner" in backend.threads[1]


def test_an_error_is_the_callers_and_is_told(
    batcher: Batcher, backend: Watched, recorder: Recorder
) -> None:
    backend.failures = [ValueError("broken")]
    with pytest.raises(EngineError, match="broken"):
        batcher.run(job(1, 1))
    assert batcher.failures == 1
    assert [kind for kind, *_ in recorder.events] == ["queued", "taken", "failed", "rejected"]
    assert batcher.run(job(1, 1)).tolist() == [[2]]


def test_an_interrupted_caller_leaves_the_model_as_it_was(
    batcher: Batcher, backend: Watched
) -> None:
    def interrupted(start: int, stop: int) -> Inputs:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batcher.run(Job("decode", 1, interrupted, lambda o, start: None))
    assert batcher.run(job(1, 1)).tolist() == [[2]]
    assert backend.threads == [threading.current_thread().name]  # idle again: not counted as busy


def test_closing_waits_for_a_caller(backend: Watched) -> None:
    batcher = Batcher(backend, FixedCapacity(8), queue_images=64, runners=1)
    backend.gate.clear()
    results: list[Any] = []
    caller = threading.Thread(target=lambda: results.append(batcher.run(job(1, 1))))
    caller.start()
    assert backend.entered.acquire(timeout=WAIT)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    closing.join(0.1)
    assert closing.is_alive()
    backend.gate.set()
    closing.join(WAIT)
    caller.join(WAIT)
    assert not closing.is_alive()
    assert results[0].tolist() == [[2]]
    with pytest.raises(EngineError, match="closed"):
        batcher.run(job(1, 1))
