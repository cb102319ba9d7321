"""Each kind of misbehaviour for seconds: what others notice is bounded, and memory comes back."""

import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from benchmarks.speed.servers import Running, ours, running
from tests.bento.support import FP32
from tests.reliability import abuse
from tests.sized import write_sized
from tests.tiny import write_artifact

SETTINGS = {**FP32, "LATENTSERVE_TIMEOUT_SECONDS": "10"}
AXES = {
    name: {"multiple_of": 2, "min": 4, "max": 512, "default": default}
    for name, default in (("height", 8), ("width", 12))
}
LARGE = {"model": "tiny-sized", "n": 16, "size": [512, 512], "seed": 1, "format": "npy"}

# They start processes and load the machine: one after the other.
pytestmark = pytest.mark.xdist_group("reliability")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("artifacts")
    write_artifact(folder, "plain")
    write_artifact(folder, "vae")
    write_sized(folder, axes=AXES)
    with running(ours(folder, SETTINGS)) as started:
        yield started


def test_a_header_without_end(server: Running) -> None:
    abuse.header_flood(server, 64)


def test_replies_that_nobody_reads(server: Running) -> None:
    url = f"{server.url}/sample"
    # What the engine itself takes for runs of this size stays with it. Two at a time: of more, the
    # last would be late on a busy machine.
    with ThreadPoolExecutor(2) as pool:
        for reply in pool.map(lambda _: httpx.post(url, json=LARGE, timeout=60), range(12)):
            reply.raise_for_status()
    abuse.unread_replies(server, 24, abuse.post("/sample", LARGE), 16 * 3 << 18, 40)


def test_uploads_that_never_finish(server: Running) -> None:
    assert abuse.unfinished_uploads(server, 40, 31, 30)["refused with 429"] != 0


def test_pictures_that_are_large_inside(server: Running) -> None:
    assert abuse.opener_flood(server, 40, 4000, "tiny-vae")["refused with 429"] != 0


def test_a_termination_with_replies_that_nobody_reads(tmp_path: Path) -> None:
    write_sized(tmp_path, axes=AXES)
    with running(ours(tmp_path, FP32)) as server, ExitStack() as stack:
        connections = [stack.enter_context(abuse.connect(server)) for _ in range(3)]
        for connection in connections:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(abuse.post("/sample", LARGE))
        for connection in connections:
            connection.recv(1)  # each reply has begun
        server.process.send_signal(signal.SIGTERM)
        # Their clients take nothing more: there is nothing to wait for.
        server.process.wait(15)
