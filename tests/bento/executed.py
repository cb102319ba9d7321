"""The requests that the API reference sends."""

from collections.abc import Iterator
from typing import Any


def executed(path: str, method: str, operation: Any, picture: bytes) -> Iterator[dict[str, Any]]:
    """What Swagger UI sends when somebody presses Execute: once for each example of a JSON body,
    and a picture for each other body that takes one. Nothing where a value is missing that it does
    not send without, or where the description says that no model answers."""
    if "No model that is loaded now answers this." in operation.get("description", ""):
        return
    query: dict[str, str] = {}
    for parameter in operation.get("parameters", []):
        schema = parameter["schema"]
        value = parameter.get("example", schema.get("example", schema.get("default")))
        if value is None and parameter["required"]:
            return
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", str(value))
        elif value is not None:
            # `style: form` without `explode`; of a list alone.
            assert isinstance(value, list) == (schema.get("type") == "array")
            assert parameter.get("explode", True) != isinstance(value, list)
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            query[parameter["name"]] = text
    accept = next(iter(operation["responses"]["200"]["content"]))
    request = {"method": method, "url": path, "params": query, "headers": {"accept": accept}}
    if "requestBody" not in operation:
        yield request
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        if kind == "application/json":
            yield from (request | {"json": e["value"]} for e in body["examples"].values())
        elif kind == "multipart/form-data":
            fields = body["schema"]["properties"]
            needed = body["schema"]["required"]
            # Fields that nobody filled in are sent as well, empty.
            data = {n: str(f.get("example", f.get("default", ""))) for n, f in fields.items()}
            data = {n: value for n, value in data.items() if n not in needed}
            yield request | {"data": data, "files": [(n, ("a.png", picture)) for n in needed]}
        elif kind == "image/*":
            headers = request["headers"] | {"content-type": kind}
            yield request | {"content": picture, "headers": headers}
