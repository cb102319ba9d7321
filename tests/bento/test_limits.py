"""Every limit of `bento.settings`, set low, just met and just exceeded."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from bento.models import Models
from bento.settings import Settings, read_settings, settings_table
from runtime import Model, Sample
from runtime.batching import Job
from runtime.encoding import encode_image, encode_npy
from runtime.images import UInt8Array
from runtime.manifest import Manifest
from tests.bento.support import ROOT, Ask, ask_async

JSON = {"content-type": "application/json"}
NPY = {"content-type": "application/x-npy"}


async def in_pieces(size: int) -> AsyncIterator[bytes]:
    """A body without a Content-Length."""
    yield b'{"model": "tiny-vae"'
    for _ in range(size // 1024):
        yield b" " * 1024
    yield b"}"


def test_body_bytes(ask: Ask) -> None:
    limit = {"max_body_bytes": 2048}

    def padded(size: int) -> httpx.Response:
        return ask("POST", "/sample", content=b"{}".ljust(size), headers=JSON, settings=limit)

    assert padded(2048).status_code == 200
    refused = padded(2049)
    assert refused.status_code == 413
    assert refused.json()["expected"] == "at most 2048 bytes"
    assert refused.json()["found"] == "2049 bytes"


def test_a_chunked_body_is_bounded_while_it_arrives(ask: Ask) -> None:
    limit = {"max_body_bytes": 4096}
    small = ask("POST", "/sample", content=in_pieces(2048), headers=JSON, settings=limit)
    assert small.status_code == 200
    large = ask("POST", "/sample", content=in_pieces(1 << 30), headers=JSON, settings=limit)
    assert large.status_code == 413


@pytest.mark.parametrize("path", ["/decode", "/encode", "/reconstruct"])
def test_every_body_is_bounded(ask: Ask, path: str) -> None:
    body = b"x" * 2000
    settings = {"max_body_bytes": 1024}
    for kind in ("application/x-npy", "multipart/form-data; boundary=x"):
        if path == "/decode" and kind.startswith("multipart"):
            continue
        reply = ask("POST", path, content=body, headers={"content-type": kind}, settings=settings)
        assert reply.status_code == 413, reply.text


def test_images_of_a_request(ask: Ask, models: Models) -> None:
    settings = {"max_images": 3}
    latents = models.get("tiny-plain").latents(4, seed=1)
    images = models.get("tiny-vae").sample(4, seed=1)
    too_many: list[tuple[str, str, dict[str, object]]] = [
        ("n", "/sample", {"json": {"n": 4}}),
        ("seeds", "/sample", {"json": {"seeds": [1, 2, 3, 4]}}),
        ("steps", "/interpolate", {"json": {"model": "tiny-vae", "seeds": [1, 2], "steps": 4}}),
        ("latents", "/decode", {"json": {"model": "tiny-plain", "latents": latents.tolist()}}),
        ("images", "/encode?model=tiny-vae", {"content": encode_npy(images), "headers": NPY}),
        ("images", "/reconstruct?model=tiny-vae", {"content": encode_npy(images), "headers": NPY}),
    ]
    for field, path, request in too_many:
        reply = ask("POST", path, settings=settings, **request)
        assert reply.status_code == 422, path
        assert reply.json()["field"] == field
        assert reply.json()["expected"] == "at most 3 images a request"
        assert ask("POST", path, settings={"max_images": 4}, **request).status_code == 200, path


def test_files_of_a_request(ask: Ask, models: Models) -> None:
    picture = encode_image(models.get("tiny-vae").sample(1, seed=1)[0])

    def send(count: int) -> httpx.Response:
        files = [("files", (f"{i}.png", picture)) for i in range(count)]
        return ask("POST", "/encode?model=tiny-vae", files=files, settings={"max_files": 2})

    assert send(2).status_code == 200
    for count in (3, 4, 20):
        reply = send(count)
        assert reply.status_code == 422
        assert reply.json()["field"] == "files"
        assert reply.json()["expected"] == "at most 2 files"


def test_pixels_of_a_picture_and_of_a_sheet(ask: Ask) -> None:
    picture = encode_image(np.zeros((20, 30, 3), np.uint8))

    def send(limit: int) -> httpx.Response:
        settings = {"max_pixels": limit}
        return ask("POST", "/encode?model=tiny-vae", files={"files": picture}, settings=settings)

    assert send(600).status_code == 200
    refused = send(599)
    assert refused.status_code == 422
    assert refused.json()["field"] == "files[0]"
    assert refused.json()["found"] == "30 x 20 = 600"
    # A sheet of 4 columns and one row of 8x8 images.
    body = {"n": 4, "columns": 4, "seed": 1}
    assert ask("POST", "/sample", json=body, settings={"max_sheet_pixels": 256}).status_code == 200
    assert ask("POST", "/sample", json=body, settings={"max_sheet_pixels": 255}).status_code == 422


def test_a_sheet_that_the_format_cannot_hold(ask: Ask) -> None:
    body = {"n": 2100, "columns": 2100, "seed": 1, "format": "webp"}
    reply = ask("POST", "/sample", json=body)
    assert reply.status_code == 422
    assert reply.json()["found"] == "a sheet of 16800 x 8"


class Stuck:
    """A request whose inputs are not ready before it is released: it holds a runner."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.begun = threading.Event()

    def job(self, manifest: Manifest) -> Job[UInt8Array]:
        made = Sample(1, 1).job(manifest)

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
def narrow(artifacts: Path) -> Iterator[Models]:
    """Models whose queues hold 4 images."""
    loaded = Models(Settings(artifacts=artifacts, queue_images=4))
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


def test_a_late_request_is_504_and_leaves_the_queue(narrow: Models) -> None:
    model = narrow.get("tiny-plain")
    settings = {"timeout_seconds": 0.2}
    body = {"model": "tiny-plain", "n": 4}
    began = time.monotonic()
    with busy(model):
        late = asyncio.run(ask_async(narrow, "POST", "/sample", json=body, settings=settings))
        assert late.status_code == 504
        assert 0.2 <= time.monotonic() - began < 5
        assert late.json()["error"] == "not finished in the allowed time"
    # The place of the late request is free again.
    assert len(model.submit(Sample(4, 1), wait=True).result(10)) == 4
    assert model.queued == 0


def test_settings_from_the_environment() -> None:
    settings = read_settings(
        {"LATENTSERVE_MAX_IMAGES": "7", "LATENTSERVE_ARTIFACTS": "/x", "A": "b"}
    )
    assert settings.max_images == 7
    assert settings.artifacts == Path("/x")
    with pytest.raises(ValueError, match=r"LATENTSERVE_MAX_IMAGES='0': .*greater than or equal"):
        read_settings({"LATENTSERVE_MAX_IMAGES": "0"})


def test_the_docs_hold_the_settings() -> None:
    assert settings_table() in (ROOT / "docs" / "http.md").read_text("utf-8")
