"""The OpenAPI document: sound, complete, and true: its examples work as they stand."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import bento.errors
from bento.models import Models
from bento.routes import build_app
from bento.settings import Settings
from runtime.images.encoding import encode_image
from tests.bento.support import ROOT, Ask


@pytest.fixture(scope="module")
def document(ask: Ask) -> dict[str, Any]:
    reply = ask("GET", "/openapi.json")
    assert reply.content == ask("GET", "/docs.json").content
    return reply.json()


def walk(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def test_every_route_is_described(document: dict[str, Any], models: Models) -> None:
    assert document["openapi"].startswith("3.1")
    ours = set(build_app(Settings(), models).paths) - {"/", "/openapi.json", "/docs.json"}
    assert ours <= set(document["paths"])
    for path, operations in document["paths"].items():
        if not path.startswith("/v2"):
            assert re.fullmatch(r"/[a-z]+|/[a-z_]+/\{model\}(/[a-z.]+)?", path)
        for operation in operations.values():
            declared = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert declared == set(re.findall(r"\{(\w+)\}", path))
        for operation in operations.values():
            assert operation["summary"]
            assert "200" in operation["responses"]


def test_every_reference_resolves(document: dict[str, Any]) -> None:
    references = [d["$ref"] for d in walk(document) if "$ref" in d]
    assert references
    for reference in references:
        name = reference.removeprefix("#/components/schemas/")
        assert name in document["components"]["schemas"]


def test_unknown_fields_are_declared_forbidden(document: dict[str, Any]) -> None:
    for name in ("SampleRequest", "DecodeRequest", "InterpolateRequest"):
        schema = document["components"]["schemas"][name]
        assert schema["additionalProperties"] is False
        assert all("description" in p or "default" in p for p in schema["properties"].values())


def test_every_example_works(document: dict[str, Any], ask: Ask, models: Models) -> None:
    picture = encode_image(models.get("tiny-vae").sample(1, seed=1)[0])
    tried: list[str] = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            for kind, body in content.items():
                for name, example in body.get("examples", {}).items():
                    value = example["value"]
                    if kind == "application/json":
                        reply = ask(method, path, json=value)
                    else:
                        options = {k: v for k, v in value.items() if k != "files"}
                        files = [("files", (file, picture)) for file in value["files"]]
                        reply = ask(method, path, data=options, files=files)
                    assert reply.status_code == 200, (path, name, reply.text)
                    assert reply.headers["content-type"] in operation["responses"]["200"]["content"]
                    tried.append(path)
    # /sample: two for each of three models, one by label.
    expected = {
        "/sample": 7,
        "/decode": 3,
        "/encode": 1,
        "/reconstruct": 1,
        "/interpolate": 3,
        "/manifold": 1,
        "/directions": 3,
    }
    assert Counter(tried) == expected


def test_the_query_parameters_are_those_that_are_read(document: dict[str, Any], ask: Ask) -> None:
    posts = {path: o["post"] for path, o in document["paths"].items() if "post" in o}
    named = {
        path: {p["name"] for p in post["parameters"] if p["in"] == "query"}
        for path, post in posts.items()
    }
    assert named["/interpolate"] == {
        "model", "labels", "format", "columns", "scale", "fps", "there_and_back", "seeds", "steps",
        "kind", "truncation",
    }  # fmt: skip
    for path, names in named.items():
        for name in names:
            reply = ask("POST", f"{path}?{name}=0")
            if reply.status_code == 422:
                assert reply.json()["found"] != "an unknown field", (path, name)
    optional = {path for path, post in posts.items() if not post["requestBody"]["required"]}
    assert optional == {"/sample", "/interpolate", "/manifold", "/directions"}
    assert ask("POST", "/manifold?model=tiny-vae&steps=2").status_code == 200
    for path in ("/sample", "/interpolate"):
        assert ask("POST", f"{path}?model=tiny-plain&seeds=1,2").status_code == 200


def test_only_readiness_is_503_among_what_is_read(document: dict[str, Any]) -> None:
    gets = {path: o["get"] for path, o in document["paths"].items() if "get" in o}
    unready = {path for path, operation in gets.items() if "503" in operation["responses"]}
    models = {f"/v2/models/{{model}}{version}/ready" for version in ("", "/versions/{version}")}
    assert unready == {"/readyz", "/v2/health/ready", *models}


def test_all_documents_name_the_same_errors(document: dict[str, Any]) -> None:
    described = set(document["paths"]["/sample"]["post"]["responses"]) - {"200"}
    module = set(re.findall(r"^\| (\d{3}) ", bento.errors.__doc__ or "", re.MULTILINE))
    page = (ROOT / "docs" / "http.md").read_text("utf-8")
    listed = set(re.findall(r"^\| (\d{3}) ", page, re.MULTILINE))
    # 404 and 405 belong to no path of the description and share a row in the tables.
    assert described == module - {"404"} == listed - {"404"}
