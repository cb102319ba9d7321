"""What a request holds (its uploads, its jobs, the model) is free once it is answered, however that
is: no cycle of an error and a frame keeps it until a collection of garbage."""

import asyncio
import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

import httpx
import numpy as np
import pytest

from bento.exchange.exchange import Exchange
from bento.repository.models import Models
from bento.settings import Settings
from runtime import EngineError, OverloadedError, Sample
from runtime.batching.entries import Entry
from runtime.batching.jobs import Job
from runtime.errors import without_frames
from runtime.images.encoding import encode_npy
from tests.bento.support import WAIT, ask_async, wait_until
from tests.bento.test_overload import busy
from tests.tiny import write_artifact

SAMPLE = {"model": "tiny-vae", "seed": 1, "n": 4}
IMAGES = {
    "content": encode_npy(np.zeros((2, 8, 8, 1), np.uint8)),
    "headers": {"content-type": "application/x-npy"},
}


@pytest.fixture
def models(tmp_path: Path) -> Iterator[Models]:
    write_artifact(tmp_path, "vae")
    settings = Settings(
        artifacts=tmp_path, queue_images=8, backend="onnxruntime", precision="fp32", load_seconds=0
    )
    models = Models(settings)
    models.load()
    yield models
    models.close()


@pytest.fixture
def without_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def held() -> dict[int, str]:
    """What the process holds of requests: id -> kind."""
    kinds = Exchange, Job, Entry
    # By its type: a proxy, of some other test, may stand for what is there no more.
    return {id(each): type(each).__name__ for each in gc.get_objects() if type(each) in kinds}


@contextmanager
def full(models: Models) -> Iterator[None]:
    """The runners of the model occupied, and its queue."""
    model = models.get("tiny-vae")
    with busy(model):
        waiting = model.submit(Sample(8, 1))
        yield
    waiting.result(WAIT)


@contextmanager
def failing(models: Models, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The engine of the model fails as engines do: by an error of its library."""
    model = models.get("tiny-vae")

    def fail(*given: Any) -> NoReturn:
        try:
            raise RuntimeError("a kernel failed")
        except RuntimeError as error:
            raise EngineError("decode: a kernel failed") from error

    with monkeypatch.context() as patched:
        for backend in model._backends:  # pyright: ignore[reportPrivateUsage]
            patched.setattr(backend, "run", fail)
        yield


@pytest.mark.usefixtures("without_collections")
@pytest.mark.parametrize(
    ("status", "path", "request_"),
    [
        (200, "/sample", {"json": SAMPLE}),
        (422, "/sample", {"json": {**SAMPLE, "labels": "none"}}),
        (422, "/reconstruct?model=tiny-vae&labels=none", IMAGES),
        (400, "/reconstruct?model=tiny-vae", {**IMAGES, "content": b"no array"}),
        (429, "/sample", {"json": SAMPLE}),
        (429, "/sample", {"json": {**SAMPLE, "n": 4000, "format": "npy"}}),
        (429, "/reconstruct?model=tiny-vae", IMAGES),
        (429, "/v1/images/generations", {"json": {"model": "tiny-vae", "prompt": "any"}}),
        (500, "/sample", {"json": SAMPLE}),
        (500, "/sample", {"json": {**SAMPLE, "n": 4000, "format": "npy"}}),
        (500, "/reconstruct?model=tiny-vae", IMAGES),
        (504, "/sample", {"json": SAMPLE}),
    ],
)
def test_nothing_is_held_after_the_reply(
    models: Models,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    status: int,
    path: str,
    request_: dict[str, Any],
) -> None:
    caplog.set_level(logging.CRITICAL, "bento.errors")  # pytest keeps what is logged, the errors

    async def ask() -> httpx.Response:
        settings = {"timeout_seconds": 0.2} if status == 504 else {}
        return await ask_async(models, "POST", path, settings=settings, **request_)

    during = {
        429: lambda: full(models),
        500: lambda: failing(models, monkeypatch),
        504: lambda: busy(models.get("tiny-vae")),
    }.get(status, nullcontext)
    with during():
        before = held()
        reply = asyncio.run(ask())
        # A runner may have the batch a moment longer; what earlier tests left may go meanwhile.
        wait_until(lambda: held().keys() <= before.keys())
    assert reply.status_code == status, reply.text


def test_errors_of_ours_lose_their_frames_and_those_of_a_mistake_keep_them() -> None:
    def caught(error: Exception) -> Exception:
        try:
            try:
                raise KeyError("first")
            except KeyError as first:
                raise error from first
        except Exception as found:
            return found

    ours = without_frames(caught(OverloadedError(1, 1)))
    assert ours.__traceback__ is None
    assert ours.__cause__ is not None
    assert ours.__cause__.__traceback__ is None
    assert without_frames(caught(ValueError("a mistake"))).__traceback__ is not None
