"""What surrounds a request: its id, how many there may be, what is counted and logged of it."""

import asyncio
import json
import logging
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from bento.errors import JsonErrors
from bento.repository.models import Models
from bento.routes import build_app
from bento.server.front import ApiKey
from bento.settings import Settings, read_settings
from bento.traffic.calls import Calls, network
from bento.traffic.metrics import ModelObserver, metrics
from tests.bento.support import Ask, ask_async

BODY = {"model": "tiny-plain", "n": 3, "seed": 5}
KEY = "0123456789abcdef"


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_every_reply_has_an_id(ask: Ask) -> None:
    first, second = (ask("POST", "/sample", json=BODY).headers["x-request-id"] for _ in range(2))
    assert first != second
    assert len(first) == 16
    for path in ("/models", "/sample?n=x"):
        assert ask("GET", path).headers["x-request-id"]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("abc-1.2_3:4", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("", False)],
)
def test_a_clients_id_is_kept_where_it_is_plain(ask: Ask, sent: str, kept: bool) -> None:
    reply = ask("POST", "/sample", json=BODY, headers={"x-request-id": sent})
    assert (reply.headers["x-request-id"] == sent) is kept


def test_requests_and_images_are_counted_apart(ask: Ask) -> None:
    ok: dict[str, str] = {"endpoint": "/sample", "model": "tiny-plain", "status": "200"}
    images = {"endpoint": "/sample", "model": "tiny-plain"}
    before = value("latentserve_requests_total", **ok), value("latentserve_images_total", **images)
    ask("POST", "/sample", json=BODY)
    assert value("latentserve_requests_total", **ok) == before[0] + 1
    assert value("latentserve_images_total", **images) == before[1] + 3
    refused = {"endpoint": "/sample", "model": "", "status": "422"}
    count = value("latentserve_requests_total", **refused)
    assert ask("POST", "/sample", json={"model": "nobody"}).status_code == 422
    assert value("latentserve_requests_total", **refused) == count + 1
    assert value("latentserve_images_total", **images) == before[1] + 3


def test_unknown_paths_share_one_series(models: Models) -> None:
    app = build_app(Settings(), models)
    before = value("latentserve_requests_total", endpoint="other", model="", status="404")

    async def send() -> None:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(JsonErrors(app)), base_url="http://test"
        ) as client:
            for i in range(3):
                assert (await client.get(f"/nowhere{i}")).status_code == 404

    asyncio.run(send())
    after = value("latentserve_requests_total", endpoint="other", model="", status="404")
    assert after == before + 3


def test_requests_at_once_are_bounded(models: Models) -> None:
    started, release = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        started.set()
        await release.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    app = Calls(slow, Settings(max_requests=1), {"/sample": None})

    async def send_two() -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            first = asyncio.create_task(client.post("/sample"))
            await started.wait()
            second = await client.post("/sample")
            release.set()
            return await first, second, await client.post("/sample")

    first, second, third = asyncio.run(send_two())
    assert (first.status_code, second.status_code, third.status_code) == (200, 429, 200)
    assert second.headers["retry-after"] == "1"
    assert second.json()["expected"] == "at most 1 at a time, and half of them for one address"


def test_one_address_has_half_of_the_places() -> None:
    release = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await release.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    app = Calls(slow, Settings(max_requests=4), {"/sample": None})

    async def send_from(address: str) -> int:
        transport = httpx.ASGITransport(app, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return (await client.post("/sample")).status_code

    async def send_all() -> list[int]:
        addresses = ("10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.3")
        tasks = [asyncio.create_task(send_from(address)) for address in addresses]
        await asyncio.sleep(0.05)
        release.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(send_all()) == [200, 200, 429, 200, 200, 429]


def test_one_line_of_json_for_each_request(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bento.traffic.calls")
    ask("POST", "/sample", json=BODY)
    assert not caplog.records
    reply = ask("POST", "/sample", json=BODY, settings={"request_log": True})
    (line,) = (json.loads(record.message) for record in caplog.records)
    assert line.pop("milliseconds") > 0
    assert line == {
        "request": reply.headers["x-request-id"],
        "endpoint": "/sample",
        "status": "200",
        "model": "tiny-plain",
        "n": 3,
        "seed": 5,
    }


@pytest.mark.parametrize(
    ("path", "told"),
    [("/readyz", False), ("/v2/health/ready", False), ("/v2/models/{model}/ready", False),
     ("/sample", True)],
)  # fmt: skip
def test_what_is_not_ready_yet_is_no_error_for_a_probe(
    path: str, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def loading(scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse({}, 503)(scope, receive, send)

    app = Calls(loading, Settings(), {path: None})

    async def probe() -> int:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return (await client.get(path.replace("{model}", "mine"))).status_code

    caplog.set_level(logging.INFO, "bento.traffic.calls")
    assert asyncio.run(probe()) == 503
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * told


def test_the_engines_work_is_counted_by_model() -> None:
    observer = ModelObserver("counted")
    both = {"model": "counted", "graph": "decode"}
    observer.taken("decode", 5, [0.001, 0.002])
    observer.run("decode", 5, 0.01)
    observer.failed("decode", 5)
    observer.rejected("decode", 2, "cancelled")
    assert value("latentserve_batch_images_sum", **both) == 5
    assert value("latentserve_queue_seconds_count", **both) == 2
    assert value("latentserve_engine_images_total", **both) == 5
    for outcome in ("ok", "failed"):
        assert value("latentserve_engine_runs_total", **both, outcome=outcome) == 1
    assert value("latentserve_rejected_total", **both, reason="cancelled") == 1


def test_gauges_tell_what_is_served(models: Models) -> None:
    metrics().observe_models(models, 1, 7)
    assert value("latentserve_requests_in_flight") == 7
    model = models.get("tiny-vae")
    labels = {"model": "tiny-vae", "version": "1", "engine": model.engine}
    assert value("latentserve_model_info", **labels) == 1
    metrics().observe_models([], 0, 0)
    assert value("latentserve_model_info", **labels) == 0


async def ask_with(app: Any, path: str, headers: dict[str, str]) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path, headers=headers)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (None, 401),
        (f"Bearer {KEY}", 200),
        (f"bearer  {KEY}", 200),
        (f"Bearer {KEY}x", 401),
        (f"Bearer {KEY[:-1]}", 401),
        (f"Basic {KEY}", 401),
        (KEY, 401),
        ("Bearer", 401),
        ("Bearer é", 401),
    ],
)
def test_the_api_key(models: Models, sent: str | None, status: int) -> None:
    app = ApiKey(build_app(Settings(), models), KEY)
    headers = {} if sent is None else {"authorization": sent.encode("utf-8")}
    reply = asyncio.run(ask_with(app, "/models", headers))  # pyright: ignore[reportArgumentType]
    assert reply.status_code == status
    if status == 401:
        assert reply.headers["www-authenticate"] == "Bearer"
        assert set(reply.json()) == {"error", "field", "expected", "found"}
        assert KEY not in reply.text


def test_orchestrators_need_no_key(models: Models) -> None:
    app = ApiKey(build_app(Settings(), models), KEY)
    ours = {"/readyz", "/v2/health/live", "/v2/health/ready"}
    for path in ("/livez", "/healthz", *ours):
        reply = asyncio.run(ask_with(app, path, {}))
        assert reply.status_code == (200 if path in ours else 404), "it came through"
    assert asyncio.run(ask_with(app, "/v2", {})).status_code == 401


@pytest.mark.parametrize("path", ["//models", "/readyz/../models", "/livez/", "/Models", ""])
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_no_other_spelling_comes_past_the_key(path: str, kind: str) -> None:
    sent: list[Any] = []

    async def inside(*_: Any) -> None:
        raise AssertionError("it came through")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": kind, "method": "GET", "path": path, "headers": []}
    asyncio.run(ApiKey(inside, KEY)(scope, inside, send))  # pyright: ignore[reportArgumentType]
    refused = {"http": {"status": 401}, "websocket": {"type": "websocket.close"}}[kind]
    assert refused.items() <= sent[0].items()


def test_the_key_is_in_no_message() -> None:
    with pytest.raises(ValueError, match="LATENTSERVE_API_KEY") as caught:
        read_settings({"LATENTSERVE_API_KEY": "short-secret"})
    assert "short-secret" not in str(caught.value)
    assert KEY not in repr(read_settings({"LATENTSERVE_API_KEY": KEY}))


def test_two_keys_are_none(models: Models) -> None:
    app = ApiKey(build_app(Settings(), models), KEY)
    headers = [("authorization", f"Bearer {KEY}"), ("authorization", "Bearer other")]
    assert asyncio.run(ask_with(app, "/models", headers)).status_code == 401  # pyright: ignore[reportArgumentType]


def test_a_failing_engine_is_told_with_the_requests_id(
    models: Models, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models.get("tiny-plain")

    def fail(*_: Any) -> Any:
        raise RuntimeError("the card fell off the bus")

    with monkeypatch.context() as patch:
        patch.setattr(model._backend, "run", fail)
        assert asyncio.run(models.missing()) is None
        for _ in range(3):
            reply = asyncio.run(ask_async(models, "POST", "/sample", json=BODY))
            assert reply.status_code == 500
            assert "bus" not in reply.text
            assert f"request {reply.headers['x-request-id']}: the engine failed" in caplog.text
        assert asyncio.run(models.missing()), "three failures one after another"
        assert asyncio.run(models.missing())
        for path, status in (("tiny-plain", 503), ("tiny-vae.encode", 200)):
            reply = asyncio.run(ask_async(models, "GET", f"/v2/models/{path}/ready"))
            assert reply.status_code == status
    # It is asked for an image whenever somebody asks for readiness: it has recovered.
    assert asyncio.run(models.missing()) is None
    assert asyncio.run(ask_async(models, "POST", "/sample", json=BODY)).status_code == 200


def test_a_client_of_ipv6_is_its_network() -> None:
    assert network("192.0.2.1") == "192.0.2.1"
    assert network("2001:db8:1:2:3:4:5:6") == network("2001:db8:1:2::9%eth0") == "2001:db8:1:2::/64"
    assert network("2001:db8:1:3::9") != network("2001:db8:1:2::9")
    assert network("no:address") == "no:address"


def test_clients_of_ipv4_are_told_apart_on_a_socket_of_both() -> None:
    assert network("::ffff:192.0.2.1") == "192.0.2.1" != network("::ffff:192.0.2.2")
