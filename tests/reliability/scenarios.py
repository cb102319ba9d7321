"""The scenarios: each brings about a fault or a load, checks what is promised, gives figures."""

import asyncio
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Mapping

import httpx
import psutil

from benchmarks.speed.servers import Running
from tests.reliability.load import Expected, Tally, clients

Figures = Mapping[str, object]

GRACE_SECONDS = 30.0
"""The service ends within this time of a SIGTERM."""
RETURN_SECONDS = 15.0
"""After its process was killed, it answers again within this time: BentoML's supervisor looks every
10 s for processes that ended, and the service then starts in about 3 s."""


def run_clients(server: Running, expected: Expected, count: int, seconds: float) -> Tally:
    return asyncio.run(clients(server.url, expected, count, seconds))


def correctness(server: Running, expected: Expected, count: int, seconds: float) -> Figures:
    """Every lossless reply to many mixed clients is what `runtime` gives in process."""
    tally = run_clients(server, expected, count, seconds)
    assert set(tally.outcomes) == {"right"}, (tally.outcomes, tally.problems[:3])
    return {
        "clients": count,
        "seconds": round(seconds),
        "replies compared": tally.outcomes["right"],
        "images compared": tally.images,
        "wrong or swapped replies": tally.outcomes["wrong"],
    }


def termination(
    server: Running, expected: Expected, count: int, seconds: float, model: str, images: int
) -> Figures:
    """SIGTERM under load, and in the middle of a stream of so many images, which take seconds: what
    was accepted is answered whole, nothing is cut, and the service ends.

    It must run with LATENTSERVE_REQUEST_LOG.
    """
    stream = Stream(server.url, model, images)
    signalled: list[float] = []
    ended: list[float] = []

    def terminate() -> None:
        time.sleep(seconds / 2)
        stream.start()
        assert stream.begun.wait(GRACE_SECONDS)
        signalled.append(time.monotonic())
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(GRACE_SECONDS)
        ended.append(time.monotonic())

    thread = threading.Thread(target=terminate)
    thread.start()
    tally = run_clients(server, expected, count, seconds + GRACE_SECONDS)
    thread.join()
    stream.join()
    assert ended, f"it did not end within {GRACE_SECONDS} s"
    assert stream.ended > signalled[0], "the stream was over before the signal: make it longer"
    assert stream.is_whole, "a stream that had begun was cut"
    assert set(tally.outcomes) <= {"right", "refused", "503"}, (tally.outcomes, tally.problems[:3])
    # What the service says that it answered is what arrived.
    statuses = Counter(
        re.findall(r'"endpoint": "/sample", "status": "(\w+)"', server.log.read_text())
    )
    assert set(statuses) == {"200"}, statuses
    assert statuses["200"] == tally.outcomes["right"] + 1, (statuses, tally.outcomes)
    return {
        "clients": count,
        "complete replies": tally.outcomes["right"],
        "incomplete replies": tally.outcomes["cut"],
        "refused after the signal": tally.outcomes["refused"] + tally.outcomes["503"],
        "seconds from the signal to the complete end of a stream": round(
            stream.ended - signalled[0], 2
        ),
        "seconds from the signal to the end of the service": round(ended[0] - signalled[0], 2),
    }


class Stream(threading.Thread):
    """A reply that takes seconds, read as it comes."""

    def __init__(self, url: str, model: str, images: int) -> None:
        super().__init__()
        self.url = url
        self.body = {"model": model, "n": images, "seed": 1, "format": "npy"}
        self.begun = threading.Event()
        self.is_whole = False
        self.ended = 0.0

    def run(self) -> None:
        with httpx.stream("POST", f"{self.url}/sample", json=self.body, timeout=60) as reply:
            length, found = int(reply.headers["content-length"]), 0
            for chunk in reply.iter_raw(1 << 16):
                found += len(chunk)
                self.begun.set()
        self.ended = time.monotonic()
        self.is_whole = found == length


def killing(server: Running, kills: int, within: float = RETURN_SECONDS) -> Figures:
    """SIGKILL of the serving process: the supervisor starts another, which answers. The socket is
    the supervisor's, so that who connects meanwhile waits, and is not refused."""
    body = {"n": 1, "seed": 1}
    waited: list[float] = []
    for _ in range(kills):
        httpx.post(f"{server.url}/sample", json=body).raise_for_status()
        worker = serving_process(server)
        began = time.monotonic()
        worker.kill()
        while not _answers(server, body, within):
            assert time.monotonic() - began < within, server.log.read_text()[-3000:]
            time.sleep(0.05)
        waited.append(time.monotonic() - began)
    return {"kills": kills, "seconds to the next reply, maximum": round(max(waited), 2)}


def serving_process(server: Running) -> psutil.Process:
    """The process that listens and runs the engines; the one that supervises it is its parent."""
    children = psutil.Process(server.process.pid).children(recursive=True)
    return max(children, key=lambda process: process.memory_info().rss)


def _answers(server: Running, body: Mapping[str, object], seconds: float) -> bool:
    try:
        return httpx.post(f"{server.url}/sample", json=body, timeout=seconds).status_code == 200
    except httpx.HTTPError:
        return False


def soak(
    server: Running, expected: Expected, count: int, seconds: float, periods: int = 10
) -> Figures:
    """Mixed load for long: memory, open files and threads stay where they are after the first of
    the periods."""
    worker = serving_process(server)
    looks: list[tuple[float, int, int]] = []
    replies = 0
    for _ in range(periods):
        tally = run_clients(server, expected, count, seconds / periods)
        assert set(tally.outcomes) == {"right"}, (tally.outcomes, tally.problems[:3])
        replies += tally.outcomes["right"]
        time.sleep(0.5)  # connections of the period that ended are closed by now
        looks.append((worker.memory_info().rss / 1e6, worker.num_fds(), worker.num_threads()))
    memory, files, threads = zip(*looks, strict=True)
    growth = max(memory[1:]) - memory[0]
    assert growth < 30, memory
    assert max(files[1:]) <= files[0] + 2, files
    assert max(threads[1:]) <= threads[0] + 2, threads
    return {
        "minutes": round(seconds / 60, 1),
        "clients": count,
        "correct replies": replies,
        "resident MB after the first tenth, and maximum later": f"{memory[0]:.0f}, "
        f"{max(memory[1:]):.0f}",
        "open files at first, and maximum later": f"{files[0]}, {max(files[1:])}",
        "threads at first, and maximum later": f"{threads[0]}, {max(threads[1:])}",
    }


def listening_elsewhere(server: Running) -> list[str]:
    """Addresses other than the loopback on which a process of the service listens."""
    supervisor = psutil.Process(server.process.pid)
    found: list[str] = []
    for process in (supervisor, *supervisor.children(recursive=True)):
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.ip != "127.0.0.1":
                found.append(f"{connection.laddr.ip}:{connection.laddr.port}")
    return found
