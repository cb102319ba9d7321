"""Clients that take more than their share, and what everybody else notices of it.

Each scenario misbehaves in one way while `/livez` and another client's small request are timed.
"""

import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

import httpx
import numpy as np
from PIL import Image

from benchmarks.speed.servers import Running
from tests.bento.support import until_closed
from tests.reliability.scenarios import Figures

OTHER = "127.0.0.2"
"""The address of the client that behaves."""

LIVEZ_SECONDS = 3.0
SMALL_SECONDS = 8.0
"""What `/livez` and a small request may take meanwhile: far above what they take on an idle
machine, far below what they took without limits."""

_IN_FLIGHT = "latentserve_requests_in_flight"

GROWTH_MEGABYTES = 900.0
"""What the service may grow by: half of its budget is for one address, and as much again for what
is being worked on."""


@dataclass
class Noticed:
    """What another client noticed."""

    livez: list[float] = field(default_factory=list[float])
    small: list[float] = field(default_factory=list[float])
    statuses: set[int] = field(default_factory=set[int])
    before: float = 0.0
    peak: float = 0.0
    after: float = 0.0

    def figures(self) -> Figures:
        return {
            "worst `/livez`, seconds": round(max(self.livez), 3),
            "worst small request of another client, seconds": round(max(self.small), 3),
            "memory before, at the peak and after, MB": f"{self.before:.0f}, {self.peak:.0f}, "
            f"{self.after:.0f}",
        }


@contextmanager
def noticing(server: Running) -> Iterator[Noticed]:
    """Probe the service while the block runs, and check what was promised afterwards."""
    found, over = Noticed(before=server.resident_megabytes()), threading.Event()

    def probe() -> None:
        transport = httpx.HTTPTransport(local_address=OTHER)
        with httpx.Client(base_url=server.url, transport=transport, timeout=60) as client:
            while not over.is_set():
                for times, send in (
                    (found.livez, lambda: client.get("/livez")),
                    (found.small, lambda: client.post("/sample?n=1&seed=1")),
                ):
                    began = time.monotonic()
                    found.statuses.add(send().status_code)
                    times.append(time.monotonic() - began)
                found.peak = max(found.peak, server.resident_megabytes())
                time.sleep(0.05)

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield found
        while len(found.small) < 3:
            time.sleep(0.05)
    finally:
        over.set()
        thread.join()
    time.sleep(2)  # freed memory is given back by a thread
    found.after = server.resident_megabytes()
    assert found.statuses == {200}, found.statuses
    assert max(found.livez) < LIVEZ_SECONDS, found.figures()
    assert max(found.small) < SMALL_SECONDS, found.figures()
    assert found.peak - found.before < GROWTH_MEGABYTES, found.figures()


def post(path: str, body: object) -> bytes:
    """A request as bytes."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n\r\n"
    return head.encode() + content


def connect(server: Running) -> socket.socket:
    """A plain connection."""
    return socket.create_connection(("127.0.0.1", server.port), timeout=60)


def header_flood(server: Running, megabytes: int) -> Figures:
    """One header of so many megabytes: refused after some kilobytes."""
    sent = 0
    with noticing(server) as found, connect(server) as flood:
        flood.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\nx-long: ")
        block = b"a" * (1 << 20)
        try:
            for _ in range(megabytes):
                flood.sendall(block)
                sent += 1
        except OSError:
            pass  # it was closed meanwhile, as it should be
        until_closed(flood)
    assert sent < megabytes, "all of it was read"
    return {"megabytes of the header that were taken": sent, **found.figures()}


def unread_replies(
    server: Running, clients: int, request: bytes, reply_bytes: int, seconds: float
) -> Figures:
    """So many clients send a request and never read its reply. Their connections end after
    `LATENTSERVE_TIMEOUT_SECONDS`, which must be below `seconds`."""
    with ExitStack() as stack, noticing(server) as found:
        for _ in range(clients):
            connection = stack.enter_context(connect(server))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(request)
        ended = wait_for_flight(server, seconds)
    assert ended < seconds, "requests stayed under way"
    return {
        "clients": clients,
        "megabytes of each reply": round(reply_bytes / 1e6),
        "seconds until none is under way": round(ended, 1),
        **found.figures(),
    }


def unfinished_uploads(server: Running, uploads: int, megabytes: int, seconds: float) -> Figures:
    """So many uploads that stop before their last byte."""
    size = megabytes << 20
    head = (
        "POST /encode HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\n"
        f"content-length: {size}\r\n\r\n"
    ).encode()
    refused = 0
    with ExitStack() as stack, noticing(server) as found:
        connections: list[socket.socket] = []
        for _ in range(uploads):
            connection = stack.enter_context(connect(server))
            connections.append(connection)
            with suppress(OSError):  # it may be refused meanwhile
                connection.sendall(head + bytes(size - 1))
        for connection in connections:
            connection.settimeout(seconds)
            refused += until_closed(connection).startswith(b"HTTP/1.1 429")
        ended = wait_for_flight(server, seconds)
    assert ended < seconds, "requests stayed under way"
    return {
        "uploads": uploads,
        "megabytes of each": megabytes,
        "refused with 429": refused,
        **found.figures(),
    }


def opener_flood(server: Running, requests: int, side: int, model: str) -> Figures:
    """So many requests at once, each of six small files that are large pictures."""
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((side, side), np.uint8)).save(buffer, "png")
    tiny = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tiny, "png")
    files = [("files", (f"{i}.png", buffer.getvalue(), "image/png")) for i in range(6)]
    path = f"{server.url}/encode?model={model}"
    statuses: list[int] = []

    def flood() -> None:
        statuses.append(httpx.post(path, files=files, timeout=120).status_code)

    small: list[float] = []
    with noticing(server) as found:
        threads = [threading.Thread(target=flood) for _ in range(requests)]
        for thread in threads:
            thread.start()
        transport = httpx.HTTPTransport(local_address=OTHER)
        with httpx.Client(transport=transport, timeout=120) as client:
            while any(thread.is_alive() for thread in threads):
                began = time.monotonic()
                reply = client.post(path, files={"files": tiny.getvalue()})
                assert reply.status_code == 200, reply.text
                small.append(time.monotonic() - began)
                time.sleep(0.1)
        for thread in threads:
            thread.join()
    assert set(statuses) <= {200, 429}, statuses
    assert max(small) < SMALL_SECONDS, small
    return {
        "requests": requests,
        "megapixels of each": round(6 * side * side / 1e6),
        "answered": statuses.count(200),
        "refused with 429": statuses.count(429),
        "worst small picture of another client, seconds": round(max(small), 3),
        **found.figures(),
    }


def wait_for_flight(server: Running, seconds: float) -> float:
    """Seconds until no request is under way, by the service's own gauge."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        text = httpx.get(f"{server.url}/metrics", timeout=60).text
        values = [line for line in text.splitlines() if line.startswith(_IN_FLIGHT)]
        if values and all(float(line.rpartition(" ")[2]) <= 1 for line in values):
            break
        time.sleep(0.2)
    return time.monotonic() - began
