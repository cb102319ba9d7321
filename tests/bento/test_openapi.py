"""The OpenAPI document: sound, complete, and true: its examples work as they stand."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import bento.errors
from benchmarks.speed.servers import Running
from bento.description import openapi
from bento.page import page_files
from bento.repository.models import Models
from bento.routes import build_app
from bento.settings import Settings
from runtime.images.encoding import encode_image
from tests.bento.executed import executed
from tests.bento.support import ROOT, Ask, ask_async, loaded
from tests.sized import write_sized


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
    ours = set(build_app(Settings(), models).paths)
    assert ours - {"/openapi.json", "/docs.json", "/schema.json", *page_files()} <= set(
        document["paths"]
    )
    for path, operations in document["paths"].items():
        assert re.fullmatch(r"(/[a-z0-9_.]+|/\{(model|version)\})+", path)
        for operation in operations.values():
            declared = operation.get("parameters", [])
            in_path = {parameter["name"] for parameter in declared if parameter["in"] == "path"}
            assert in_path == set(re.findall(r"\{(\w+)\}", path))
            assert operation["summary"]
            assert "200" in operation["responses"]


def test_every_operation_is_in_a_group_that_is_described(document: dict[str, Any]) -> None:
    told = {tag["name"] for tag in document["tags"] if tag["description"]}
    found = {
        path: {tag for operation in operations.values() for tag in operation["tags"]}
        for path, operations in document["paths"].items()
    }
    assert all(len(tags) == 1 for tags in found.values())
    assert set.union(*found.values()) == told
    asked = ("/sample", "/models/{model}", "/readyz", "/v1/models", "/v2/health/live")
    groups = ("requests", "models", "service", "OpenAI", "open-inference")
    assert [found[path] for path in asked] == [{group} for group in groups]


def test_what_an_image_depends_on_is_whole(document: dict[str, Any]) -> None:
    told = document["info"]["description"]
    for each in ("model", "seed", "i", "label", "prompt", "truncation", "size"):
        assert re.search(rf"\b{each}\b", told), each


def test_every_field_and_parameter_is_described(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    fields = {
        f"{schema}.{name}": field
        for schema, described in schemas.items()
        for name, field in described.get("properties", {}).items()
    }
    fields |= {
        f"{path} {parameter['name']}": parameter
        for path, operations in document["paths"].items()
        for operation in operations.values()
        for parameter in operation.get("parameters", [])
    }

    def described(field: dict[str, Any]) -> bool:
        inner = [each.get("description") for each in field.get("anyOf", [])]
        return bool(field.get("description") or any(inner) or "$ref" in field)

    assert len(fields) > 100
    assert [name for name, field in fields.items() if not described(field)] == []


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


def test_everything_executes(server: Running, models: Models) -> None:
    picture = encode_image(models.get("tiny-vae").sample(1, seed=1)[0])
    tried: list[str] = []
    with httpx.Client(base_url=server.url) as client:
        document = client.get("/openapi.json").json()
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                for request in executed(path, method, operation, picture):
                    reply = client.request(**request)
                    assert reply.status_code == 200, (request, reply.text)
                    kind = reply.headers["content-type"].partition(";")[0]
                    assert kind in operation["responses"]["200"]["content"]
                    tried.append(f"{method} {path}")
    # /sample: two for each of three models, one by label. /encode: a form, and a picture.
    assert Counter(tried) == {
        "get /sample": 1,
        "post /sample": 7,
        "post /decode": 3,
        "post /encode": 2,
        "post /reconstruct": 2,
        "get /interpolate": 1,
        "post /interpolate": 3,
        "get /manifold": 1,
        "post /manifold": 1,
        "get /latents": 1,
        "post /latents": 3,
        "get /directions": 1,
        "post /directions": 3,
        "post /remote_vae/{model}/encode": 1,
        "post /v1/images/generations": 3,
        "get /v1/models": 1,
        "get /v1/models/{model}": 1,
        "get /models": 1,
        "get /models/{model}": 1,
        "get /readyz": 1,
        "get /livez": 1,
        "get /metrics": 1,
        **dict.fromkeys((f"get /v2{path}" for path in ("", "/health/live", "/health/ready")), 1),
        **{
            f"{way} /v2/models/{{model}}{version}{path}": 1
            for version in ("", "/versions/{version}")
            for way, path in (("get", ""), ("get", "/ready"), ("post", "/infer"))
        },
    }


def test_a_form_with_a_mask_executes(tmp_path: Path) -> None:
    write_sized(tmp_path)
    with loaded(tmp_path) as models:
        reply = asyncio.run(ask_async(models, "GET", "/openapi.json"))
        operation = reply.json()["paths"]["/translate"]["post"]
        picture = encode_image(np.zeros((8, 12, 3), np.uint8))
        requests = list(executed("/translate", "post", operation, picture))
        form = requests[0]
        assert [name for name, _ in form["files"]] == ["files", "mask"]
        assert asyncio.run(
            ask_async(models, form.pop("method"), form.pop("url"), **form)
        ).is_success


def test_no_option_is_sent_twice(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for parameter in operations.get("post", {}).get("parameters", []):
            if parameter["in"] == "query":
                # What must be there is nowhere else.
                assert "example" not in parameter or parameter["required"], path
                assert "default" not in parameter["schema"], path
    for path in ("/sample", "/interpolate", "/manifold", "/directions", "/latents"):
        assert document["paths"][path]["post"]["parameters"] == []


def test_the_query_parameters_are_those_that_are_read(document: dict[str, Any], ask: Ask) -> None:
    named = {
        (method, path): {p["name"] for p in operation["parameters"] if p["in"] == "query"}
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if "parameters" in operation
    }
    assert named["get", "/interpolate"] == {
        "model", "labels", "format", "columns", "scale", "fps", "there_and_back", "seeds", "steps",
        "kind", "seed", "truncation", "prompt",
    }  # fmt: skip
    for (method, path), names in named.items():
        for name in names:
            reply = ask(method, f"{path}?{name}=0")
            if reply.status_code == 422:
                assert reply.json()["found"] != "an unknown field", (path, name)
    posts = {path: o["post"] for path, o in document["paths"].items() if "post" in o}
    optional = {path for path, post in posts.items() if not post["requestBody"]["required"]}
    assert optional == {"/sample", "/interpolate", "/manifold", "/directions", "/latents"}
    assert optional == {path for path in posts if "get" in document["paths"][path]}


def test_only_readiness_is_503_among_what_is_read(document: dict[str, Any]) -> None:
    paths = document["paths"].items()
    gets = {path: o["get"] for path, o in paths if "get" in o and "post" not in o}
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


def test_it_is_written_again_only_when_models_change(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []

    def counted(*given: Any) -> dict[str, Any]:
        written.append(len(written))
        return {"number": len(written)}

    monkeypatch.setattr(openapi, "openapi_document", counted)
    description = openapi.Description(Settings(), models)
    assert description.json() == description.json() == b'{"number":1}'
    monkeypatch.setattr(next(iter(models)), "digest", "of a new version")
    assert description.json() == b'{"number":2}'
    assert len(written) == 2
