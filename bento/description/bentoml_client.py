"""What BentoML's own client asks first: `GET /schema.json`, in the form of its `Service.schema`.

It makes a method of each route that is listed. Those that take pictures are not: it quotes the
fields of a form as JSON, and ours are plain text.
"""

from typing import Any

from bento.endpoints import endpoints

# To that client: the reply as it is.
_BYTES = {"type": "string", "format": "binary"}


def client_schema() -> dict[str, Any]:
    """The endpoints that take JSON, by which `bentoml.SyncHTTPClient(url).sample(...)` works."""
    routes = [
        {
            "name": name,
            "route": f"/{name}",
            "doc": endpoint.summary,
            "input": schema.model_json_schema(),
            "output": _BYTES,
        }
        for name, endpoint in endpoints().items()
        if (schema := endpoint.json_schema) is not None
    ]
    return {"name": "latentserve", "type": "service", "routes": routes}
