"""The page of all HTTP operations, from the description that the service gives of itself."""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bento.description.openapi import openapi_document
from bento.repository.models import Models
from bento.settings import Settings

Json = Mapping[str, Any]

_ARTIFACTS = Path(__file__).parents[2] / "artifacts"
_INTRODUCTION = """# HTTP operations

Generated from the description that the service gives of itself at `/openapi.json`, with the models
of this repository loaded. A running service has the same at `/docs`, to be tried.
[Over HTTP](../http.md) explains the endpoints, and has the [errors](../http.md#errors) of all.
"""


def operations_page() -> str:
    """It as Markdown."""
    return render(description())


def description() -> Json:
    """The OpenAPI document of a service with the models of this repository."""
    with tempfile.TemporaryDirectory() as cache:
        settings = Settings(
            artifacts=_ARTIFACTS,
            backend="onnxruntime",
            precision="fp32",
            device="cpu",
            load_seconds=0,
            cache=Path(cache),
        )
        models = Models(settings)
        models.load()
        try:
            return openapi_document(settings, models)
        finally:
            models.close()


def render(document: Json) -> str:
    """An OpenAPI document as Markdown."""
    schemas: Json = document["components"]["schemas"]
    lines = [_INTRODUCTION]
    for path, operations in document["paths"].items():
        methods = ", ".join(method.upper() for method in operations)
        lines += [f"## {methods} {path}", ""]
        described = dict(list(operations.items())[-1:])  # GET and POST are the same request
        for operation in described.values():
            lines += _operation(operation, schemas)
    return "\n".join(lines)


def _operation(operation: Json, schemas: Json) -> Iterator[str]:
    yield f"{operation['summary'].rstrip('.')}."
    yield ""
    if about := operation.get("description"):
        yield _text(about)
        yield ""
    bodies: Json = operation.get("requestBody", {}).get("content", {})
    written: dict[str, list[str]] = {}
    for media_type, body in bodies.items():
        fields = {row[0]: row for row in _fields(body.get("schema", {}), schemas)}
        new = {name: row for name, row in fields.items() if name not in written}
        yield f"Body: `{media_type}`" + (", with the fields above" if fields and not new else "")
        yield ""
        yield from _table("field", new.values())
        yield from _examples(body.get("examples", {}))
        written |= new
    asked = [_parameter(parameter) for parameter in operation.get("parameters", ())]
    if known := [row for row in asked if row[0] in written]:
        yield f"In the query: {', '.join(row[0] for row in known)}."
        yield ""
    yield from _table("in the address", [row for row in asked if row[0] not in written])
    errors = {s: r for s, r in operation["responses"].items() if s >= "400"}
    for status, response in operation["responses"].items():
        if status not in errors:
            yield f"- **{status}**: {_response(response)}"
    if errors:
        yield f"- errors: {', '.join(errors)}"
    yield ""


def _table(title: str, rows: Iterable[list[str]]) -> Iterator[str]:
    found = list(rows)
    if found:
        yield f"| {title} | type | meaning |"
        yield "| --- | --- | --- |"
        for row in found:
            yield f"| {' | '.join(_cell(value) for value in row)} |"
        yield ""


def _parameter(parameter: Json) -> list[str]:
    return _field(parameter["name"], parameter["schema"], parameter.get("description", ""))


def _fields(schema: Json, schemas: Json) -> Iterator[list[str]]:
    resolved = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    for name, field in resolved.get("properties", {}).items():
        yield _field(name, field, field.get("description", ""))


def _field(name: str, schema: Json, about: str) -> list[str]:
    default = schema.get("default")
    told = [about, *(each.get("description", "") for each in schema.get("anyOf", ()))]
    about = next(filter(None, told), "")
    more = "" if default is None else f" Default: `{json.dumps(default)}`."
    return [f"`{name}`", _type(schema), f"{about}{more}"]


def _type(schema: Json) -> str:
    """A JSON schema in a few words."""
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        kinds = dict.fromkeys(_type(each) for each in choices)
        return " or ".join(kind for kind in kinds if kind != "null")
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type", "any"))


def _examples(examples: Json) -> Iterator[str]:
    for title, example in list(examples.items())[:2]:
        yield f"Example: {title}"
        yield ""
        yield f"```json\n{_short(example['value'])}\n```"
        yield ""


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]} ..."


def _response(response: Json) -> str:
    types = ", ".join(f"`{each}`" for each in response.get("content", {}))
    headers = ", ".join(f"`{each}`" for each in response.get("headers", {}))
    parts = [response["description"], f"{types}." if types else ""]
    return " ".join(filter(None, [*parts, f"Headers: {headers}." if headers else ""]))


def _cell(value: str) -> str:
    return _text(value).replace("|", "\\|").replace("\n", " ").strip()


def _text(value: str) -> str:
    """Text that is not Markdown: angle brackets are none of HTML's."""
    return value.replace("<", "&lt;")
