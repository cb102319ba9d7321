"""`python -m tests.bento.ray_local`: Ray Serve with our service on this machine, asked for images.

Prints one line of JSON: what came. Ray listens on all addresses, whatever it is told: the test runs
this in a network namespace of its own, where the loopback is the only one, and is down at first.
"""

import base64
import fcntl
import json
import socket
import struct
import sys
import tempfile
from typing import Any

import httpx
import ray  # pyright: ignore[reportMissingImports]
from ray import serve  # pyright: ignore[reportMissingImports]

from bento.ray_serve import deployment

_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1
"""Of Linux: SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP."""


def raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh22x", b"lo", 0)
        flags = struct.unpack_from("h", fcntl.ioctl(any_socket, _GET_FLAGS, request), 16)[0]
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh22x", b"lo", flags | _UP))


def main(key: str) -> None:
    raise_loopback()
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:  # short: it holds sockets
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=100_000_000,
            _node_ip_address="127.0.0.1",
            _temp_dir=folder,
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
