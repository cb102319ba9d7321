"""Arrays that leave as they are made: whole, or visibly broken, and never for nobody."""

import asyncio
import io
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from bento.repository.models import Models
from bento.settings import Settings
from runtime import EngineError
from tests.bento.support import WAIT, Ask, ask_async, left, listening, wait_until
from tests.bento.test_overload import busy
from tests.runtime.fakes import Recorder

MANY = {"model": "tiny-plain", "n": 300, "seed": 5, "format": "npy"}


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def own(artifacts: Path, recorder: Recorder) -> Iterator[Models]:
    """Models that a test may break."""
    loaded = Models(Settings(artifacts=artifacts), lambda name: recorder)
    loaded.load()
    yield loaded
    loaded.close()


def test_a_stream_is_the_array_that_the_library_gives(ask: Ask, models: Models) -> None:
    reply = ask("POST", "/sample", json=MANY)
    model = models.get("tiny-plain")
    assert model.max_batch < 300
    expected = model.sample(300, seed=5)
    found = np.load(io.BytesIO(reply.content))
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert int(reply.headers["content-length"]) == len(reply.content)
    assert reply.headers["x-seed"] == "5"
    assert reply.headers["content-type"] == "application/x-npy"


def test_other_endpoints_stream_too(ask: Ask, models: Models) -> None:
    way = {"model": "tiny-plain", "seeds": [1, 2], "steps": 200, "format": "npy"}
    assert np.load(io.BytesIO(ask("POST", "/interpolate", json=way).content)).shape[0] == 200


def test_a_stream_has_limits_of_its_own(ask: Ask) -> None:
    limits = {"max_images": 100, "max_streamed_images": 300, "max_reply_bytes": 1}
    assert ask("POST", "/sample", json=MANY, settings=limits).status_code == 200
    for body in (MANY | {"n": 301}, MANY | {"format": "png"}):
        refused = ask("POST", "/sample", json=body, settings=limits)
        assert refused.status_code == 422
        assert refused.json()["field"] == "n"
    assert refused.json()["expected"] == "at most 100 images a request"


def test_a_full_queue_refuses_a_stream_before_it_begins(artifacts: Path) -> None:
    narrow = Models(Settings(artifacts=artifacts, queue_images=4))
    narrow.load()
    model = narrow.get("tiny-plain")
    with busy(model):
        waiting = model.submit(model_request())
        assert asyncio.run(ask_async(narrow, "POST", "/sample", json=MANY)).status_code == 429
    waiting.result(WAIT)
    # And one that is larger than the whole queue still gets through when there is room.
    assert asyncio.run(ask_async(narrow, "POST", "/sample", json=MANY)).status_code == 200
    narrow.close()


def model_request() -> Any:
    from runtime import Sample

    return Sample(4, 1)


def test_a_stream_that_fails_is_cut(own: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    model = own.get("tiny-plain")
    backend, runs = model._backend, iter(range(1000))
    honest = backend.run

    def failing(graph: Any, inputs: Any, out: Any) -> Any:
        if next(runs) > 8:
            raise EngineError("the card fell off the bus")
        return honest(graph, inputs, out)

    monkeypatch.setattr(backend, "run", failing)
    with (
        listening(own) as url,
        pytest.raises(httpx.TransportError),  # an incomplete body, or a reset connection
    ):
        httpx.post(f"{url}/sample", json=MANY | {"n": 20_000}, timeout=WAIT)
    monkeypatch.undo()
    assert model.queued == 0


def test_a_stream_whose_first_part_fails_has_a_status_and_leaves_nothing(
    own: Models, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = own.get("tiny-plain")
    honest, runs = model._backend.run, iter(range(1000))

    def failing(graph: Any, inputs: Any, out: Any) -> Any:
        # The first run of each runner: one of them is the first part's, and they are at once.
        first = next(runs) < model.runners
        time.sleep(0.05)
        if first:
            raise EngineError("the card fell off the bus")
        return honest(graph, inputs, out)

    monkeypatch.setattr(model._backend, "run", failing)
    reply = asyncio.run(ask_async(own, "POST", "/sample", json=MANY))
    assert reply.status_code == 500
    wait_until(lambda: model.queued == 0)
    # Its other parts were taken out, or failed like the first.
    assert sum(n for n, _ in recorder.of("rejected")) + recorder.images_run() < 300


def test_streams_leave_half_of_the_queue_to_others(artifacts: Path) -> None:
    narrow = Models(Settings(artifacts=artifacts, queue_images=200))
    narrow.load()
    with listening(narrow, queue_images=200) as url:
        body = MANY | {"n": 1_000_000}
        with ExitStack() as stack:
            client = stack.enter_context(httpx.Client(timeout=WAIT))
            replies = [
                stack.enter_context(client.stream("POST", f"{url}/sample", json=body))
                for _ in range(5)
            ]
            assert [reply.status_code for reply in replies].count(429) >= 2
            assert replies[0].status_code == 200
            small = httpx.post(f"{url}/sample", json={"model": "tiny-plain"}, timeout=WAIT)
            assert small.status_code == 200
    narrow.close()


def test_a_client_that_leaves_stops_the_stream(own: Models, recorder: Recorder) -> None:
    before = left("tiny-plain")
    with listening(own) as url:
        body = MANY | {"n": 1_000_000}
        with httpx.stream("POST", f"{url}/sample", json=body, timeout=WAIT) as reply:
            assert reply.status_code == 200
            next(reply.iter_bytes())
        wait_until(lambda: own.get("tiny-plain").queued == 0)
        made = recorder.images_run()
        time.sleep(0.2)
        assert recorder.images_run() <= made + 64 * 8
        assert made < 900_000
        wait_until(lambda: left("tiny-plain") == before + 1)


def test_a_client_that_reads_nothing_is_cut(own: Models) -> None:
    before = left("tiny-plain")
    with listening(own, timeout_seconds=2.0) as url:
        body = MANY | {"n": 1_000_000}
        with httpx.stream("POST", f"{url}/sample", json=body, timeout=WAIT) as reply:
            assert reply.status_code == 200
            wait_until(lambda: left("tiny-plain") == before + 1)
            with pytest.raises(httpx.TransportError):
                for _ in reply.iter_bytes():
                    pass
        # Others are served as before.
        assert httpx.post(f"{url}/sample", json={"n": 1}, timeout=WAIT).status_code == 200
