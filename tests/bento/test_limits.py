"""Every limit of `bento.settings`, set low, just met and just exceeded."""

import io
import json
import math
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from bento.endpoints.sample import SampleRequest
from bento.exchange.schemas import from_json
from bento.repository.models import Models
from bento.settings import Settings, read_settings, settings_table
from runtime import InputError
from runtime.engines.registry import engines
from runtime.images import MAX_PIXELS, fit, open_image
from runtime.images.encoding import encode_image, encode_npy
from tests.bento.support import ROOT, Ask
from tests.pictures import file_of, numbers_tiff, png

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


def test_json_has_a_lower_limit_than_arrays(ask: Ask, models: Models) -> None:
    settings = {"max_json_bytes": 1024}
    latents = models.get("tiny-plain").latents(100, seed=1)
    body = {"model": "tiny-plain", "latents": latents.tolist()}
    refused = ask("POST", "/decode", json=body, settings=settings)
    assert refused.status_code == 413
    assert refused.json()["expected"] == "at most 1024 bytes"
    array = encode_npy(latents)
    assert len(array) > 1024
    query = "/decode?model=tiny-plain"
    assert ask("POST", query, content=array, headers=NPY, settings=settings).status_code == 200


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


def test_pixels_of_a_picture(ask: Ask) -> None:
    picture = encode_image(np.zeros((20, 30, 3), np.uint8))

    def send(limit: int) -> httpx.Response:
        settings = {"max_pixels": limit}
        return ask("POST", "/encode?model=tiny-vae", files={"files": picture}, settings=settings)

    assert send(600).status_code == 200
    refused = send(599)
    assert refused.status_code == 422
    assert refused.json()["field"] == "files[0]"
    assert refused.json()["found"] == "30 x 20 = 600"


def test_a_phones_picture_needs_no_setting(ask: Ask, models: Models) -> None:
    model = models.get("tiny-vae")
    buffer = io.BytesIO()
    Image.effect_noise((800, 600), 80).resize((8000, 6000)).save(buffer, "JPEG")
    reply = ask("POST", "/encode?model=tiny-vae", files={"files": buffer.getvalue()})
    assert reply.status_code == 200, reply.text
    # The same pixels as the library, the command line and training see.
    fitted = fit(open_image(buffer.getvalue()), model.manifest.image())
    expected = model.encode(fitted[None]).mean
    np.testing.assert_array_equal(np.float32(reply.json()["mean"]), expected)


def test_one_limit_for_every_way_in(ask: Ask) -> None:
    assert Settings().max_pixels == MAX_PIXELS >= 50_000_000
    # The largest picture fits into what one request may hold.
    assert Settings().max_upload_pixels >= MAX_PIXELS
    bomb = png([bytes(1250)] * 7000, 10_000, 1, 0, {})
    refused = ask("POST", "/encode?model=tiny-vae", files={"files": bomb})
    assert refused.status_code == 422
    assert refused.json()["expected"] == f"at most {MAX_PIXELS} pixels"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(file_of(Image.new("LAB", (9, 9)), "TIFF"), 200, id="lab"),
        pytest.param(numbers_tiff([math.nan, 0.25, 0.5, 1], "<f4"), 200, id="nan"),
        pytest.param(numbers_tiff([0, 1, 2, 2**31 - 1], "<i4"), 200, id="int32"),
        pytest.param(file_of(Image.new("L", (99, 99)), "PNG")[:60], 422, id="cut"),
        pytest.param(b"P6 64 64 99\n" + bytes(9), 422, id="cut pnm"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n", 422, id="eps"),
    ],
)
def test_a_picture_is_answered_or_refused(ask: Ask, data: bytes, status: int) -> None:
    reply = ask("POST", "/encode?model=tiny-vae", files={"files": data})
    assert reply.status_code == status, reply.text
    assert status == 200 or reply.json()["field"] == "files[0]"


def test_pixels_of_all_pictures_together(ask: Ask) -> None:
    picture = encode_image(np.zeros((20, 30, 3), np.uint8))
    files = [("files", picture)] * 4

    def send(limit: int, count: int = 4) -> httpx.Response:
        settings = {"max_upload_pixels": limit}
        path = "/encode?model=tiny-vae"
        return ask("POST", path, files=files[:count], settings=settings)

    assert send(2400).status_code == 200
    refused = send(1799)
    assert refused.status_code == 422
    assert refused.json()["field"] == "files[2]"
    assert refused.json()["expected"] == "at most 1799 pixels in all pictures of a request"
    # What a small picture becomes in the model's size counts as well: 8 x 8 here.
    tiny = send(63, count=1)
    assert tiny.json()["field"] == "files"
    assert tiny.json()["found"] == "64 in the model's size"


@pytest.mark.parametrize("kind", ["png", "webp", "jpeg", "npy", "zip", "json"])
def test_bytes_of_a_reply_with_pictures(ask: Ask, models: Models, kind: str) -> None:
    plain, vae = models.get("tiny-plain"), models.get("tiny-vae")
    images = encode_npy(vae.sample(4, seed=1))
    latents = plain.latents(4, seed=1).tolist()
    # Four images of 8 x 8, in RGB or grey.
    replies: list[tuple[str, int, str, dict[str, Any]]] = [
        ("n", 768, "/sample", {"json": {"n": 4, "format": kind}}),
        ("seeds", 768, "/sample", {"json": {"seeds": [1, 2, 3, 4], "format": kind}}),
        ("steps", 768, "/interpolate", {"json": {"seeds": [1, 2], "steps": 4, "format": kind}}),
        ("latents", 768, "/decode", {"json": {"latents": latents, "format": kind}}),
        (
            "images",
            256,
            f"/reconstruct?model=tiny-vae&format={kind}",
            {"content": images, "headers": NPY},
        ),
    ]
    for field, size, path, request in replies:
        if "json" in request:
            request["json"]["model"] = "tiny-plain"
        met = ask("POST", path, settings={"max_reply_bytes": size}, **request)
        assert met.status_code == 200, (path, met.text)
        refused = ask("POST", path, settings={"max_reply_bytes": size - 1}, **request)
        assert refused.status_code == 422, path
        assert refused.json()["field"] == field
        assert refused.json()["found"] == str(size)


@pytest.mark.parametrize(("kind", "size"), [("npy", 32), ("npz", 64), ("json", 400)])
def test_bytes_of_a_reply_with_posteriors(ask: Ask, models: Models, kind: str, size: int) -> None:
    # Four images, two latent values each.
    images = encode_npy(models.get("tiny-vae").sample(4, seed=1))
    path = f"/encode?model=tiny-vae&format={kind}"

    def send(limit: int) -> httpx.Response:
        settings = {"max_reply_bytes": limit}
        return ask("POST", path, content=images, headers=NPY, settings=settings)

    assert send(size).status_code == 200
    assert send(size - 1).json()["found"] == str(size)


def test_the_empty_cells_of_a_sheet_count(ask: Ask) -> None:
    body = {"model": "tiny-plain", "n": 5, "columns": 3, "format": "png"}
    assert ask("POST", "/sample", json=body, settings={"max_reply_bytes": 1151}).status_code == 422
    assert ask("POST", "/sample", json=body, settings={"max_reply_bytes": 1152}).status_code == 200


@pytest.mark.parametrize(
    ("path", "field", "items"),
    [
        ("/sample", "seeds", [-1] * 5),
        ("/sample", "labels", [[]] * 5),
        ("/interpolate", "labels", [None] * 5),
        ("/decode", "latents", [[1], [1, 2], "x", None, {}]),
    ],
)
def test_a_list_that_is_too_long_is_not_looked_into(
    ask: Ask, path: str, field: str, items: list[Any]
) -> None:
    reply = ask("POST", path, json={field: items}, settings={"max_images": 4})
    assert reply.status_code == 422
    assert reply.json()["field"] == field
    assert reply.json()["expected"] == "at most 4 images a request"
    assert reply.json()["found"] == "5"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"seeds": [-1] * 50_000}, id="items"),
        pytest.param({f"x{i}": 0 for i in range(50_000)}, id="fields"),
    ],
)
def test_a_refusal_costs_no_more_than_its_request(body: dict[str, Any]) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            from_json(SampleRequest, body, max_images=100_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.field in ("seeds[0]", "x0")
    # One error for each of them took 20 MB and more.
    assert peak < 1 << 20


@pytest.mark.parametrize(
    "body",
    [
        {"model": "x" * 100_000},
        {"x" * 100_000: 1},
        {"n": 10**4000},
        {"n": [0] * 50_000},
        {"format": {str(i): i for i in range(10_000)}},
        {"labels": "9" * 100_000},
        {"labels": ["x" * 100_000]},
        {"seed": "\0" * 100_000},
    ],
)
def test_an_error_is_short_whatever_the_value(ask: Ask, body: dict[str, Any]) -> None:
    reply = ask("POST", "/sample", content=json.dumps(body).encode(), headers=JSON)
    assert reply.status_code == 422
    assert len(reply.content) < 1000


def test_a_sheet_that_the_format_cannot_hold(ask: Ask) -> None:
    body = {"n": 2100, "columns": 2100, "seed": 1, "format": "webp"}
    reply = ask("POST", "/sample", json=body)
    assert reply.status_code == 422
    assert reply.json()["found"] == "a sheet of 16800 x 8"


def test_settings_from_the_environment(tmp_path: Path) -> None:
    settings = read_settings(
        {"LATENTSERVE_MAX_IMAGES": "7", "LATENTSERVE_ARTIFACTS": str(tmp_path), "A": "b"}
    )
    assert settings.max_images == 7
    assert settings.artifacts == tmp_path
    with pytest.raises(ValueError, match=r"LATENTSERVE_ARTIFACTS='.*/mistyped': expected a folder"):
        read_settings({"LATENTSERVE_ARTIFACTS": str(tmp_path / "mistyped")})
    with pytest.raises(ValueError, match=r"LATENTSERVE_MAX_IMAGES='0': .*greater than or equal"):
        read_settings({"LATENTSERVE_MAX_IMAGES": "0"})


def test_every_backend_of_the_runtime_can_be_set() -> None:
    for name in ("auto", *engines()):
        assert read_settings({"LATENTSERVE_BACKEND": name}).backend == name
    with pytest.raises(ValueError, match=r"LATENTSERVE_BACKEND='magic': .*'openvino'"):
        read_settings({"LATENTSERVE_BACKEND": "magic"})


def test_a_misspelt_variable_is_no_setting() -> None:
    with pytest.raises(ValueError, match=r"LATENTSERVE_MAX_IMAGE .*LATENTSERVE_MAX_IMAGES\?"):
        read_settings({"LATENTSERVE_MAX_IMAGE": "7"})


def test_the_docs_hold_the_settings() -> None:
    assert settings_table() in (ROOT / "docs" / "http.md").read_text("utf-8")


def test_only_numbers_are_given_memory(ask: Ask) -> None:
    """NumPy would make 4,000 strings as long as the longest: 1.6 GB."""
    body = json.dumps({"model": "tiny-plain", "latents": ["x" * 100_000, *[""] * 3999]}).encode()
    tracemalloc.start()
    try:
        reply = ask("POST", "/decode", content=body, headers=JSON)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert reply.status_code == 422
    assert reply.json()["found"] == "str"
    assert peak < 16 << 20
