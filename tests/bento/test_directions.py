"""GET and POST /directions."""

from typing import Any

import numpy as np
import pytest

from bento.repository.models import Models
from runtime import Model
from tests.bento.support import Ask


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
    runs: list[Any] = []
    submit = Model.submit
    monkeypatch.setattr(Model, "submit", lambda *a, **k: (runs.append(a), submit(*a, **k))[1])
    first = ask("GET", "/directions?model=tiny-plain&count=2")
    assert first.headers["cache-control"] == "public, no-cache"
    count = len(runs)
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
