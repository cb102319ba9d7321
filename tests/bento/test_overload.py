"""Full queues, late answers, clients that leave, pictures that take long: what nobody waits for
costs nothing, and nobody else is held up."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import PIL.Image
import pytest

from bento.errors import JsonErrors
from bento.repository.models import Models
from bento.routes import build_app
from bento.settings import Settings
from runtime import Model, Sample
from runtime.batching.jobs import Job
from runtime.images import UInt8Array
from runtime.images.encoding import encode_image, encode_npy
from runtime.requests.request import Described
from tests.bento.support import Ask, ask_async
from tests.runtime.fakes import Recorder

FOUR = {"model": "tiny-plain", "n": 4}
NPY = {"content-type": "application/x-npy"}
PICTURE = encode_image(np.zeros((8, 8, 1), np.uint8))


class Stuck:
    """A request whose inputs are not ready before it is released: it holds a runner."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.begun = threading.Event()

    def job(self, model: Described) -> Job[UInt8Array]:
        made = Sample(1, 1).job(model)

        def rows(start: int, stop: int) -> object:
            self.begun.set()
            self.release.wait(30)
            return made.rows(start, stop)

        return Job("decode", 1, rows, made.finish)  # pyright: ignore[reportArgumentType]


@contextmanager
def busy(model: Model) -> Iterator[None]:
    """All runners of `model` occupied."""
    stuck = [Stuck() for _ in range(model.runners)]
    futures = []
    for one in stuck:
        futures.append(model.submit(one))
        assert one.begun.wait(10)
    try:
        yield
    finally:
        for one in stuck:
            one.release.set()
        for future in futures:
            future.result(10)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def narrow(artifacts: Path, recorder: Recorder) -> Iterator[Models]:
    """Models whose queues hold 4 images."""
    loaded = Models(Settings(artifacts=artifacts, queue_images=4), lambda name: recorder)
    loaded.load()
    yield loaded
    loaded.close()


def test_a_full_queue_is_429_with_retry_after(narrow: Models) -> None:
    model = narrow.get("tiny-plain")
    with busy(model):
        waiting = model.submit(Sample(4, 1))
        body = {"model": "tiny-plain", "n": 1}
        refused = asyncio.run(ask_async(narrow, "POST", "/sample", json=body))
        other = asyncio.run(ask_async(narrow, "POST", "/sample", json={"model": "tiny-vae"}))
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["expected"] == "at most 4 images waiting"
    assert refused.json()["found"] == "4"
    assert other.status_code == 200
    assert len(waiting.result(10)) == 4


def test_a_late_request_is_504_and_leaves_the_queue(narrow: Models, recorder: Recorder) -> None:
    model = narrow.get("tiny-plain")
    settings = {"timeout_seconds": 0.2}
    with busy(model):
        late = asyncio.run(ask_async(narrow, "POST", "/sample", json=FOUR, settings=settings))
        assert late.status_code == 504
        assert late.json()["error"] == "not finished in the allowed time"
        assert model.queued == 0
        assert recorder.of("rejected") == [(4, "cancelled")]
    # Only what held the runners was run, and the place of the late request is free again.
    assert recorder.images_run() == model.runners
    assert len(model.submit(Sample(4, 1), wait=False).result(10)) == 4


async def ask_and_leave(models: Models, body: dict[str, Any], leaving: Callable[[], bool]) -> int:
    """The status of a POST /sample whose client leaves when `leaving` returns."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/sample",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    incoming = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        if incoming:
            return incoming.pop()
        assert await asyncio.to_thread(leaving)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    app = JsonErrors(build_app(Settings(), models))
    await asyncio.wait_for(app(scope, receive, send), 20)
    return sent[0]["status"]


def test_a_client_that_leaves_takes_its_work_along(narrow: Models, recorder: Recorder) -> None:
    model = narrow.get("tiny-plain")
    with busy(model):
        queued = partial(recorder.wait_for, "queued", 4)
        assert asyncio.run(ask_and_leave(narrow, FOUR, queued)) == 499
        assert model.queued == 0
        assert recorder.of("rejected") == [(4, "cancelled")]
    assert recorder.images_run() == model.runners


class SlowPictures:
    """Opening a picture takes until it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.release = threading.Event()
        self.opened = 0
        real = PIL.Image.open

        def slow(*args: Any, **options: Any) -> PIL.Image.Image:
            self.opened += 1
            self.release.wait(30)
            return real(*args, **options)

        monkeypatch.setattr(PIL.Image, "open", slow)


def test_pictures_hold_up_nobody_else(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowPictures(monkeypatch)
    # More than asyncio's own executor ever has threads.
    many = 40

    async def ask_all() -> tuple[httpx.Response, list[httpx.Response]]:
        path = "/encode?model=tiny-vae"
        encoding = [
            asyncio.create_task(ask_async(models, "POST", path, files={"files": PICTURE}))
            for _ in range(many)
        ]
        while not slow.opened:
            await asyncio.sleep(0.01)
        try:
            settings = {"timeout_seconds": 5}
            sampled = await ask_async(models, "POST", "/sample", json=FOUR, settings=settings)
        finally:
            slow.release.set()
        return sampled, await asyncio.gather(*encoding)

    sampled, encoded = asyncio.run(ask_all())
    assert sampled.status_code == 200, sampled.text
    assert [reply.status_code for reply in encoded] == [200] * many


def test_a_request_that_is_over_opens_no_further_picture(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowPictures(monkeypatch)

    async def ask_both() -> tuple[httpx.Response, httpx.Response]:
        path = "/encode?model=tiny-vae"
        files = [("files", PICTURE)] * 6
        settings = {"timeout_seconds": 1.0}
        late = await ask_async(models, "POST", path, files=files, settings=settings)
        slow.release.set()
        return late, await ask_async(models, "POST", path, files={"files": PICTURE})

    late, after = asyncio.run(ask_both())
    assert late.status_code == 504
    assert after.status_code == 200
    # The first picture of the late request, and the one that came after.
    assert slow.opened == 2


@pytest.mark.parametrize(
    ("query", "settings", "headers", "status", "field"),
    [
        ("&labels=1", {}, {}, 422, "labels"),
        ("&format=tiff", {}, {}, 422, "format"),
        ("", {"max_reply_bytes": 255}, {}, 422, "images"),
        ("", {"max_images": 3}, {}, 422, "images"),
        ("", {}, {"accept": "text/html"}, 406, "accept"),
    ],
)
def test_a_refused_reconstruction_has_run_nothing(
    narrow: Models,
    recorder: Recorder,
    query: str,
    settings: dict[str, Any],
    headers: dict[str, str],
    status: int,
    field: str,
) -> None:
    path = f"/reconstruct?model=tiny-vae{query}"
    array = encode_npy(np.zeros((4, 8, 8, 1), np.uint8))
    # Nor is any picture opened: these are none, and it does not show.
    pictures = [("files", b"no picture")] * 4
    for body in ({"content": array, "headers": NPY | headers}, {"files": pictures}):
        request = {"headers": headers, **body}
        reply = asyncio.run(ask_async(narrow, "POST", path, settings=settings, **request))
        assert reply.status_code == status, reply.text
        assert reply.json()["field"] == field
    assert recorder.of("run") == []


def test_a_form_full_of_delimiters_is_refused_at_once(ask: Ask) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
    body = part + b"\r\n--xy" * 200_000 + b"\r\n--x--\r\n"
    kind = {"content-type": "multipart/form-data; boundary=x"}
    reply = ask("POST", "/encode?model=tiny-vae", content=body, headers=kind)
    assert reply.status_code == 400
    assert reply.json()["found"] == "200001 parts"
