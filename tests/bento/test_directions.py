"""GET and POST /directions."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from bento.repository.models import Models
from runtime import Model
from tests.bento.support import Ask, ask_async, loaded
from tests.tiny import write_artifact


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What models are given to find directions in, from now on."""
    runs: list[Any] = []
    parts = Model.parts
    monkeypatch.setattr(Model, "parts", lambda *a, **k: (runs.append(a), parts(*a, **k))[1])
    return runs


def test_they_are_those_of_the_runtime(ask: Ask, models: Models) -> None:
    model = models.get("tiny-conditional")
    expected = model.directions(3, labels="two")
    reply = ask("POST", "/directions", json={"model": "tiny-conditional", "count": 3, "labels": 2})
    told = reply.json()
    assert reply.headers["x-model"] == told["model"] == "tiny-conditional@1"
    assert (told["label"], told["size"], told["samples"]) == ("two", None, 512)
    np.testing.assert_allclose(told["directions"], expected.directions, atol=1e-6)
    np.testing.assert_allclose(told["deviations"], expected.deviations, atol=1e-6)
    np.testing.assert_allclose(told["mean"], expected.mean, atol=1e-6)
    latent = np.add(told["mean"], 3 * told["deviations"][0] * np.array(told["directions"][0]))
    body = {"model": "tiny-conditional", "latents": [latent.tolist()], "labels": "two"}
    assert ask("POST", "/decode", json=body).status_code == 200


def test_they_are_found_once(ask: Ask, models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = counted(monkeypatch)
    first = ask("GET", "/directions?model=tiny-plain&count=2")
    assert first.headers["cache-control"] == "public, no-cache"
    count = len(runs)
    assert count <= 1  # none, where another test was the first
    four = ask("GET", "/directions?model=tiny-plain&count=4").json()
    assert four["directions"][:2] == first.json()["directions"]
    assert len(four["directions"]) == 4
    assert len(ask("GET", "/directions?model=tiny-plain&count=64").json()["directions"]) == 4
    known = ask(
        "GET",
        "/directions?model=tiny-plain&count=2",
        headers={"if-none-match": first.headers["etag"]},
    )
    assert known.status_code == 304
    assert len(runs) == count


def test_requests_at_once_share_what_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = counted(monkeypatch)
    write_artifact(tmp_path, "conditional")
    with loaded(tmp_path) as models:

        async def asked(label: int, times: int) -> list[httpx.Response]:
            path = f"/directions?labels={label}"
            return await asyncio.gather(*[ask_async(models, "GET", path) for _ in range(times)])

        asyncio.run(asked(0, 1))
        assert len(runs) == 1
        replies = asyncio.run(asked(1, 3))
        assert len(runs) == 2
        assert [reply.status_code for reply in replies] == [200] * 3
        assert len({reply.content for reply in replies}) == 1


def test_what_is_refused(ask: Ask) -> None:
    for query, field in (
        ("count=0", "count"),
        ("count=65", "count"),
        ("labels=0", "labels"),
        ("labels=0,1", "labels"),
        ("model=nobody", "model"),
    ):
        prefix = "" if "model" in query else "model=tiny-plain&"
        reply = ask("GET", f"/directions?{prefix}{query}")
        assert (reply.status_code, reply.json()["field"]) == (422, field)
    reply = ask("GET", "/directions", headers={"accept": "image/png"})
    assert reply.status_code == 406
