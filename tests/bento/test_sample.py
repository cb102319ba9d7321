"""POST /sample: every format, replay, labels, paging, and equality with in-process sampling."""

import base64
import io
import json
import threading
import zipfile
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bento.repository.models import Models
from runtime import Sample
from runtime.images import contact_sheet
from runtime.images.encoding import MEDIA_TYPES
from runtime.requests.manifold import Manifold
from tests.bento.support import Ask
from tests.tiny import LABELS


def pixels(data: bytes) -> NDArray[np.uint8]:
    """A picture file as uint8 [H, W, C]."""
    array = np.asarray(Image.open(io.BytesIO(data)))
    return array if array.ndim == 3 else array[..., None]


def sample_npy(ask: Ask, **body: object) -> NDArray[np.uint8]:
    reply = ask("POST", "/sample", json={**body, "format": "npy"})
    assert reply.status_code == 200, reply.text
    return np.load(io.BytesIO(reply.content))


@pytest.mark.parametrize("name", ["tiny-plain", "tiny-conditional", "tiny-vae"])
def test_images_are_those_of_the_runtime(ask: Ask, models: Models, name: str) -> None:
    expected = models.get(name).sample(20, seed=7)
    assert expected.std() > 20
    whole = sample_npy(ask, model=name, n=20, seed=7)
    np.testing.assert_array_equal(whole, expected)
    # Alone, at an offset: float32 sums may differ by a rounding, so by one grey level at most.
    alone = sample_npy(ask, model=name, n=1, seed=7, offset=13)
    assert np.abs(alone[0].astype(int) - expected[13]).max() <= 1


@pytest.mark.parametrize("picture_format", ["png", "webp"])
def test_a_sheet_holds_every_pixel(ask: Ask, models: Models, picture_format: str) -> None:
    body = {"model": "tiny-vae", "n": 64, "seed": 7, "format": picture_format}
    reply = ask("POST", "/sample", json=body)
    assert reply.headers["content-type"] == MEDIA_TYPES[picture_format]
    sheet = contact_sheet(models.get("tiny-vae").sample(64, seed=7))
    found = pixels(reply.content)
    assert found.shape[:2] == (64, 64)
    np.testing.assert_array_equal(found[..., :1], sheet)


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [("sample", {"seeds": list(range(100))}, Sample), ("manifold", {"steps": 40}, Manifold)],
)
def test_long_lists_and_grids_are_checked_beside_the_loop(
    path: str, body: dict[str, Any], kind: type[Any], ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    job = kind.job

    def noted(*given: Any) -> Any:
        threads.append(threading.current_thread())
        return job(*given)

    monkeypatch.setattr(kind, "job", noted)
    reply = ask("POST", f"/{path}", json={"model": "tiny-vae", "format": "npy", **body})
    assert reply.status_code == 200, reply.text
    assert threading.current_thread() not in threads
    assert threads


def test_jpeg_looks_alike(ask: Ask, models: Models) -> None:
    reply = ask("POST", "/sample", json={"model": "tiny-vae", "seed": 7, "format": "jpeg"})
    assert reply.headers["content-type"] == "image/jpeg"
    expected = models.get("tiny-vae").sample(1, seed=7)[0]
    # JPEG loses pixels; noise at quality 92 stays within a few levels on average.
    assert np.abs(pixels(reply.content).astype(int) - expected).mean() < 10


def test_zip_and_json_say_what_each_image_is(ask: Ask, models: Models) -> None:
    model = models.get("tiny-conditional")
    body = {"model": "tiny-conditional", "n": 5, "seed": 11, "offset": 3}
    images = model.sample(5, seed=11, offset=3)
    indices = Sample(5, 11, 3).chosen_labels(model.manifest)
    assert indices is not None
    labels = [LABELS[i] for i in indices]
    assert len(set(labels)) > 1

    with zipfile.ZipFile(
        io.BytesIO(ask("POST", "/sample", json={**body, "format": "zip"}).content)
    ) as archive:
        index = json.loads(archive.read("index.json"))
        from_zip = [pixels(archive.read(entry["file"])) for entry in index["images"]]
    reply = ask("POST", "/sample", json={**body, "format": "json"}).json()
    from_json = [pixels(base64.b64decode(entry["png"])) for entry in reply["images"]]

    assert index["model"] == reply["model"] == "tiny-conditional@1"
    for entries in (index["images"], reply["images"]):
        assert [entry["label"] for entry in entries] == labels
        assert [entry["seed"] for entry in entries] == [11] * 5
        assert [entry["index"] for entry in entries] == [3, 4, 5, 6, 7]
    np.testing.assert_array_equal(from_zip, images)
    np.testing.assert_array_equal(from_json, images)


def test_seeds_give_image_zero_of_each(ask: Ask, models: Models) -> None:
    reply = ask(
        "POST", "/sample", json={"model": "tiny-plain", "seeds": [5, 2, 5], "format": "npy"}
    )
    assert reply.headers["x-seed"] == "5,2,5"
    images = np.load(io.BytesIO(reply.content))
    np.testing.assert_array_equal(images, models.get("tiny-plain").sample(seeds=[5, 2, 5]))
    np.testing.assert_array_equal(images[0], images[2])


def test_a_drawn_seed_is_told_and_replays(ask: Ask) -> None:
    first, second = (ask("POST", "/sample", json={"model": "tiny-plain"}) for _ in range(2))
    assert first.content != second.content
    again = ask(
        "POST", "/sample", json={"model": "tiny-plain", "seed": int(first.headers["x-seed"])}
    )
    assert again.content == first.content


@pytest.mark.parametrize("picture_format", ["png", "webp", "jpeg", "npy", "zip", "json"])
def test_the_same_request_gives_the_same_bytes(ask: Ask, picture_format: str) -> None:
    body = {"model": "tiny-conditional", "n": 6, "seed": 3, "format": picture_format}
    first, second = (ask("POST", "/sample", json=body) for _ in range(2))
    assert first.status_code == 200
    assert first.content == second.content


def test_everything_is_optional(ask: Ask) -> None:
    for request in ({"json": {}}, {}):
        reply = ask("POST", "/sample", **request)
        assert reply.headers["x-model"] == "tiny-conditional@1"
        assert pixels(reply.content).shape == (8, 8, 3)


def test_the_highest_version_is_served_and_may_be_named(ask: Ask) -> None:
    assert (
        ask("POST", "/sample", json={"model": "tiny-plain@2"}).headers["x-model"] == "tiny-plain@2"
    )
    assert ask("POST", "/sample", json={"model": "tiny-plain@1"}).status_code == 422


def test_options_in_the_query(ask: Ask, models: Models) -> None:
    reply = ask("POST", "/sample?model=tiny-conditional&n=3&seed=4&labels=two,0,1&format=npy")
    expected = models.get("tiny-conditional").sample(3, seed=4, labels=["two", "zero", "one"])
    np.testing.assert_array_equal(np.load(io.BytesIO(reply.content)), expected)
    seeds = ask("POST", "/sample?model=tiny-plain&seeds=5,2&format=npy")
    assert seeds.headers["x-seed"] == "5,2"


@pytest.mark.parametrize("labels", ["two", 2, ["two"], ["2"], [2, "two", 2, 2]])
def test_labels_by_name_or_index(ask: Ask, models: Models, labels: object) -> None:
    images = sample_npy(ask, model="tiny-conditional", n=4, seed=1, labels=labels)
    expected = models.get("tiny-conditional").sample(4, seed=1, labels="two")
    np.testing.assert_array_equal(images, expected)


def test_truncation_reaches_the_latents(ask: Ask, models: Models) -> None:
    images = sample_npy(ask, model="tiny-plain", n=4, seed=1, truncation=0.5)
    model = models.get("tiny-plain")
    np.testing.assert_array_equal(images, model.sample(4, seed=1, truncation=0.5))
    assert (images != model.sample(4, seed=1)).any()


def test_columns(ask: Ask) -> None:
    body = {"model": "tiny-plain", "n": 6, "seed": 1, "columns": 6}
    assert pixels(ask("POST", "/sample", json=body).content).shape == (8, 48, 3)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "png"),
        ("image/webp", "webp"),
        ("image/*", "png"),
        ("application/x-npy", "npy"),
        ("application/zip, image/png;q=0.5", "zip"),
        ("image/png;q=0, image/*", "webp"),
        ("text/html, */*;q=0.1", "png"),
    ],
)
def test_accept_chooses_the_format(ask: Ask, accept: str, expected: str) -> None:
    reply = ask("POST", "/sample", json={"seed": 1}, headers={"accept": accept})
    assert reply.headers["content-type"] == MEDIA_TYPES[expected]


def test_an_explicit_format_wins_over_accept(ask: Ask) -> None:
    reply = ask("POST", "/sample", json={"format": "npy"}, headers={"accept": "image/png"})
    assert reply.headers["content-type"] == MEDIA_TYPES["npy"]


def test_nothing_acceptable(ask: Ask) -> None:
    reply = ask("POST", "/sample", json={}, headers={"accept": "text/html"})
    assert reply.status_code == 406
    assert reply.json()["field"] == "accept"
    assert "image/webp" in reply.json()["expected"]


@pytest.mark.parametrize("query", ["labels=0,2,1", "labels=0,2,1&n=3"])
def test_several_labels_are_several_images(ask: Ask, query: str) -> None:
    reply = ask("POST", f"/sample?model=tiny-conditional&seed=3&format=json&{query}").json()
    assert [entry["label"] for entry in reply["images"]] == ["zero", "two", "one"]
