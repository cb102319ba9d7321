"""GET for what a query string can ask: a picture behind a link, and what caches may keep of it."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY

from benchmarks.speed.servers import Running
from bento.repository.models import Models
from runtime import Model
from tests.bento.support import Ask, ask_async

YEAR = "max-age=31536000, immutable"
ASKED = "/sample?model=tiny-plain&seed=7&n=3"


@pytest.fixture
def runs(models: Models, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often a model was given work."""
    given: list[Any] = []

    def count(method: str) -> None:
        work = getattr(Model, method)

        def counting(model: Model, *args: Any, **kwargs: Any) -> Any:
            given.append(model)
            return work(model, *args, **kwargs)

        monkeypatch.setattr(Model, method, counting)

    count("submit")
    count("parts")
    return lambda: len(given)


@pytest.mark.parametrize(
    "path",
    [
        "/sample?model=tiny-conditional&n=3&seed=4&labels=two,0,1&format=zip",
        "/interpolate?model=tiny-plain&seeds=1,2&steps=3",
        "/manifold?model=tiny-vae&steps=2",
    ],
)
def test_a_get_is_the_post_of_the_same_query(ask: Ask, path: str) -> None:
    expected = ask("POST", path)
    reply = ask("GET", path)
    assert reply.status_code == 200
    assert reply.content == expected.content
    for name in ("content-type", "x-model"):
        assert reply.headers[name] == expected.headers[name]
    assert "etag" not in expected.headers
    assert ask("HEAD", path).headers["etag"] == reply.headers["etag"]


def test_it_is_counted_and_limited_as_the_post(ask: Ask) -> None:
    labels = {"endpoint": "/sample", "model": "tiny-plain"}
    before = REGISTRY.get_sample_value("latentserve_images_total", labels) or 0
    assert ask("GET", ASKED).status_code == 200
    assert REGISTRY.get_sample_value("latentserve_images_total", labels) == before + 3
    refused = ask("GET", "/sample?n=5", settings={"max_images": 4})
    assert (refused.status_code, refused.json()["field"]) == (422, "n")


def test_the_options_of_a_get_stand_in_its_query(ask: Ask) -> None:
    reply = ask("GET", "/sample", json={"seed": 7})
    assert (reply.status_code, reply.json()["field"]) == (422, "body")
    assert ask("GET", "/interpolate?a=1,2&b=1,2").json()["field"] == "a"


def test_only_a_version_stays_what_it_is(ask: Ask) -> None:
    named = ask("GET", ASKED.replace("tiny-plain", "tiny-plain@2")).headers
    assert named["cache-control"] == f"public, {YEAR}"
    bare = ask("GET", ASKED).headers
    assert bare["cache-control"] == "public, no-cache"
    assert bare["etag"] == named["etag"]
    assert ask("GET", "/sample?seed=7").headers["cache-control"] == "public, no-cache"


def test_with_a_key_nothing_is_public(ask: Ask) -> None:
    settings = {"api_key": "0123456789abcdef"}
    assert ask("GET", ASKED, settings=settings).headers["cache-control"] == "private, no-cache"
    versioned = ASKED.replace("tiny-plain", "tiny-plain@2")
    assert ask("GET", versioned, settings=settings).headers["cache-control"] == f"private, {YEAR}"


def test_a_drawn_seed_is_kept_by_nobody(ask: Ask) -> None:
    reply = ask("GET", "/sample?model=tiny-plain@2")
    assert reply.headers["cache-control"] == "no-store"
    assert "etag" not in reply.headers
    assert ask("GET", "/sample?model=tiny-plain&seeds=1,2").headers["etag"]


def test_the_tag_tells_requests_apart(ask: Ask) -> None:
    paths = (
        ASKED,
        f"{ASKED}&columns=3",
        f"{ASKED}&format=webp",
        f"{ASKED}&format=npy",
        ASKED.replace("seed=7", "seed=8"),
        ASKED.replace("plain", "vae"),
        "/interpolate?model=tiny-plain&seeds=1,2&steps=3",
        "/interpolate?model=tiny-plain&seeds=1,2&steps=3&kind=lerp",
        "/manifold?model=tiny-vae&steps=3",
    )
    tags = [ask("GET", path).headers["etag"] for path in paths]
    assert len(set(tags)) == len(paths)
    same = ask("GET", "/sample?n=3&seed=7&format=png&model=tiny-plain").headers
    assert same["etag"] == tags[0]


def test_the_tag_tells_engines_apart(
    ask: Ask, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ask("GET", ASKED).headers["etag"]
    monkeypatch.setattr(models.get("tiny-plain"), "engine", "another")
    assert ask("GET", ASKED).headers["etag"] != first


def test_a_negotiated_format_varies(ask: Ask) -> None:
    reply = ask("GET", ASKED, headers={"accept": "image/webp"})
    assert (reply.headers["content-type"], reply.headers["vary"]) == ("image/webp", "Accept")
    assert "vary" not in ask("GET", f"{ASKED}&format=png").headers


@pytest.mark.parametrize(("before", "status"), [(31, 200), (32, 406)])
def test_so_much_of_what_is_accepted_is_read(ask: Ask, before: int, status: int) -> None:
    ranges = [*(["text/plain"] * before), "image/png"]
    assert ask("GET", ASKED, headers={"accept": ",".join(ranges)}).status_code == status


@pytest.mark.parametrize("path", [ASKED, "/manifold?model=tiny-vae&steps=2"])
@pytest.mark.parametrize("sent", ["{}", "W/{}", '"other", {}', "*"])
def test_what_a_client_has_is_not_made_again(
    ask: Ask, runs: Callable[[], int], path: str, sent: str
) -> None:
    first = ask("GET", path)
    before = runs()
    tag = first.headers["etag"]
    reply = ask("GET", path, headers={"if-none-match": sent.format(tag)})
    assert (reply.status_code, reply.content, runs()) == (304, b"", before)
    for name in ("etag", "cache-control", "vary", "x-model", "x-request-id"):
        assert name in reply.headers
    other = ask("GET", path, headers={"if-none-match": tag.replace('"', '"x', 1)})
    assert (other.status_code, runs()) == (200, before + 1)


def test_one_connection_carries_replies_with_and_without_a_body(server: Running) -> None:
    with httpx.Client(base_url=server.url) as client:
        first = client.get(ASKED)
        known = client.get(ASKED, headers={"if-none-match": first.headers["etag"]})
        assert (known.status_code, known.content) == (304, b"")
        head = client.head(ASKED)
        assert (head.status_code, head.content) == (200, b"")
        # How long the body would be is known only once it is made.
        assert {"content-length", "transfer-encoding"}.isdisjoint(head.headers)
        assert head.headers["content-type"] == first.headers["content-type"]
        assert client.get(ASKED).content == first.content


@pytest.mark.parametrize(
    "path",
    [
        ASKED,
        "/sample?model=tiny-plain",
        "/interpolate?model=tiny-plain&seeds=1,2&steps=3",
        "/manifold?model=tiny-vae&steps=2",
        "/latents?model=tiny-plain&seed=1&format=npy",
        "/directions?model=tiny-vae",
    ],
)
def test_head_runs_nothing(ask: Ask, runs: Callable[[], int], path: str) -> None:
    head, before = ask("HEAD", path), runs()
    assert (head.status_code, head.content, before) == (200, b"", 0)
    given = ask("GET", path).headers
    for name in ("content-type", "cache-control", "etag", "vary", "x-model"):
        assert head.headers.get(name) == given.get(name)
    refused = ask("HEAD", f"{path}&x=1")
    assert refused.status_code == 422


def test_a_refused_request_is_not_known_either(models: Models) -> None:
    reply = asyncio.run(ask_async(models, "GET", f"{ASKED}&x=1", headers={"if-none-match": "*"}))
    assert reply.status_code == 422
