"""`python -m tests.bento.ray_local`: Ray Serve with our service on this machine, asked for images.

Prints one line of JSON: what came.
"""

import base64
import json
import sys
from typing import Any

import httpx
import ray  # pyright: ignore[reportMissingImports]
from ray import serve  # pyright: ignore[reportMissingImports]

from bento.ray_serve import deployment


def main(key: str) -> None:
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100_000_000,
        _node_ip_address="127.0.0.1",
    )
    serve.start(http_options={"host": "127.0.0.1", "port": 8000})
    serve.run(deployment.bind(), route_prefix="/", blocking=False)
    print(json.dumps(ask("http://127.0.0.1:8000", key)), flush=True)
    serve.shutdown()
    ray.shutdown()


def ask(url: str, key: str) -> dict[str, Any]:
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}) as client:
        npy = client.post("/sample", json={"seed": 7, "n": 4, "format": "npy"})
        streamed = client.post("/sample", json={"seed": 7, "n": 300, "format": "npy"})
        return {
            "npy": base64.b64encode(npy.content).decode(),
            "streamed": base64.b64encode(streamed.content).decode(),
            "model": npy.headers["x-model"],
            "readyz": client.get("/readyz").json(),
            "refused": client.post("/sample", json={"n": 0}).json(),
            "unknown": httpx.get(f"{url}/models").status_code,
        }


if __name__ == "__main__":
    main(sys.argv[1])
