"""Memory while images stream: what a process holds after the first 1%, and at most afterwards.

In process a million images of a small decoder through `Model.stream`, each batch dropped as it
comes; over HTTP one `POST /sample` of 50,000 as npy, read in chunks and dropped, while the memory
of the service's processes is watched. Both in processes of their own, after a warm-up.
"""

import http.client
import json
import time
from collections.abc import Sequence
from contextlib import closing
from functools import cache
from pathlib import Path

import psutil

import runtime
from benchmarks.figures import Bar, Figure, most
from benchmarks.speed import servers
from benchmarks.speed.ceiling import in_fresh_process
from benchmarks.speed.publishing import parser, publish
from benchmarks.speed.subjects import add_options, opened
from runtime.machine import cores

GROWTH: Bar = most(30.0)
"""Megabytes that either may grow by after the first 1%."""

_CHUNK = 1 << 16
_PERIOD = 0.02
"""Seconds between two looks at the service's memory: looking costs the client milliseconds."""


@cache
def _this_process() -> psutil.Process:
    return psutil.Process()


class Watch:
    """Resident memory at the first 1% and at most afterwards, in megabytes."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.first: float | None = None
        self.peak = 0.0
        self._done = 0

    def passed(self, number: int) -> None:
        """So many more of the total are through, in this process."""
        self._done += number
        self.note(self._done, _this_process().memory_info().rss / 1e6)

    def note(self, done: int, megabytes: float) -> None:
        """`megabytes` are held now that `done` of the total are through."""
        if done * 100 < self.total:
            return
        if self.first is None:
            self.first = megabytes
        self.peak = max(self.peak, megabytes)

    def figure(self, subject: str, note: str = "") -> Figure:
        """The growth, as a figure with its bar."""
        if self.first is None:
            raise ValueError(f"{subject}: expected {self.total} to come through, found too few")
        details = {"after 1%": self.first, "at most": self.peak}
        growth = self.peak - self.first
        return Figure(subject, "ours", growth, "MB grown", bar=GROWTH, note=note, details=details)


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks memory`"""
    options = parser("memory", __doc__)
    add_options(options)
    options.add_argument("--stream", type=int, help="images in process (1000000; 100000 quick)")
    options.add_argument("--http", type=int, help="images over HTTP (50000; 4096 quick)")
    chosen = options.parse_args(arguments)
    streamed = chosen.stream or (100_000 if chosen.quick else 1_000_000)
    downloaded = chosen.http or (4096 if chosen.quick else 50_000)
    figures: list[Figure] = []
    with opened(chosen, ("vae32",)) as subjects:
        for subject in subjects:
            watch = in_fresh_process(stream, subject.folder, streamed)
            figures.append(watch.figure(f"{subject.name} stream({streamed})"))
            # The service looks for `<name>/<version>` in its folder.
            with servers.running(servers.ours(subject.folder.parent.parent)) as started:
                watch = download(started, subject.name, downloaded)
            figures.append(watch.figure(f"{subject.name} POST /sample n={downloaded} npy"))
    publish(
        chosen,
        "memory",
        "Growth of resident memory after the first 1%",
        figures,
        {"cores": cores(), "runners": cores(), "chunk_bytes": _CHUNK},
    )


def stream(folder: Path, n: int) -> Watch:
    """Stream n images in this process, and watch it."""
    watch = Watch(n)
    with runtime.load(folder) as model:
        model.warm()
        model.sample(2 * model.max_batch, seed=1)
        for batch in model.stream(n, seed=0):
            watch.passed(len(batch))
    return watch


def download(service: servers.Running, model: str, n: int) -> Watch:
    """Ask the service for n images as npy, and watch it while they are read."""
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)) as client:
        _ask(client, model, 128).read()
        reply = _ask(client, model, n)
        length = int(reply.headers["content-length"])
        watch, done, due = Watch(length), 0, 0.0
        while chunk := reply.read(_CHUNK):
            done += len(chunk)
            if time.perf_counter() >= due or done == length:
                watch.note(done, service.resident_megabytes())
                due = time.perf_counter() + _PERIOD
    if done != length:
        raise RuntimeError(f"POST /sample n={n}: expected {length} bytes, found {done}")
    return watch


def _ask(client: http.client.HTTPConnection, model: str, n: int) -> http.client.HTTPResponse:
    body = json.dumps({"model": model, "n": n, "seed": 7, "format": "npy"})
    client.request("POST", "/sample", body, {"content-type": "application/json"})
    reply = client.getresponse()
    if reply.status != 200:
        raise RuntimeError(f"POST /sample n={n}: status {reply.status}: {reply.read()[:300]!r}")
    return reply
