"""Options as the OpenAPI description states them where they are text: in a query string or a form.

Swagger UI sends every value that it finds in a description, a `default` too, in the query and in
the form at once. So no field here has one: it stands in the description's words, and what is sent
is what an `example` says.
"""

from typing import Any, cast

from pydantic import BaseModel

from bento.exchange.schemas import lists_of

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}


def query_fields(options: type[BaseModel], example: Json | None = None) -> list[Json]:
    """The fields of a model as query parameters, with the values of an example."""
    given, required, lists = example or {}, _required(options), lists_of(options)
    fields: list[Json] = []
    for name, schema in _plain(options).items():
        field: Json = {"name": name, "in": "query", "required": name in required}
        field |= {"description": schema.pop("description"), "schema": schema}
        if name in lists:  # separated by commas
            listed = {"type": "array", "items": schema}
            field |= {"schema": listed, "style": "form", "explode": False}
        if name in given:
            field["example"] = _as_list(given[name]) if name in lists else given[name]
        fields.append(field)
    return fields


def form_fields(options: type[BaseModel], example: Json | None = None) -> Json:
    """The fields of a model as properties of a form, with the values of an example."""
    given, lists = example or {}, lists_of(options)
    fields: Json = {}
    for name, schema in _plain(options).items():
        fields[name] = schema
        if name in lists:
            schema |= _TEXT
            schema["description"] += " Several are separated by commas."
        if name in given:
            value = given[name]
            schema["example"] = ",".join(map(str, _as_list(value))) if name in lists else value
    return fields


def _plain(options: type[BaseModel]) -> Json:
    """Name -> schema, of a list that of its items."""
    properties: Json = options.model_json_schema()["properties"]
    lists = lists_of(options)
    return {name: _one(schema, is_list=name in lists) for name, schema in properties.items()}


def _one(schema: Json, *, is_list: bool) -> Json:
    kept = dict(schema)
    for wrapped in kept.pop("anyOf", []):  # `X | None`
        if wrapped != {"type": "null"}:
            kept |= {k: v for k, v in wrapped.items() if k != "anyOf"}
    default, _ = kept.pop("default", None), kept.pop("title", None)
    description = [kept.get("description", "")]
    if default is not None:
        description.append(f"{str(default).lower()} by default.")
    if is_list:
        items = cast("Json", kept.get("items", {})).get("type", "string")
        kept = {"type": items}
    kept["description"] = " ".join(filter(None, description))
    return kept


def _required(options: type[BaseModel]) -> set[str]:
    return {name for name, field in options.model_fields.items() if field.is_required()}


def _as_list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else [value]
