"""The scenarios: each brings about a fault or a load, checks what is promised, gives figures."""

import asyncio
import signal
import threading
import time
from collections.abc import Mapping

import httpx
import psutil

from tests.bento.support import Server
from tests.reliability.load import Expected, Tally, clients

Figures = Mapping[str, object]

GRACE_SECONDS = 30.0
"""The service ends within this time of a SIGTERM."""
RETURN_SECONDS = 15.0
"""After its process was killed, it answers again within this time: BentoML's supervisor looks every
10 s for processes that ended, and the service then starts in about 3 s."""


def run_clients(server: Server, expected: Expected, count: int, seconds: float) -> Tally:
    return asyncio.run(clients(server.url, expected, count, seconds))


def correctness(server: Server, expected: Expected, count: int, seconds: float) -> Figures:
    """Every lossless reply to many mixed clients is what `runtime` gives in process."""
    tally = run_clients(server, expected, count, seconds)
    assert set(tally.outcomes) == {"right"}, (tally.outcomes, tally.problems[:3])
    return {
        "clients": count,
        "seconds": round(seconds),
        "replies compared": tally.outcomes["right"],
        "images compared": tally.images,
        "wrong or swapped": tally.outcomes["wrong"],
    }


def termination(server: Server, expected: Expected, count: int, seconds: float) -> Figures:
    """SIGTERM under load: what was accepted is answered whole, nothing is cut, and it ends."""
    ended: list[float] = []

    def terminate() -> None:
        time.sleep(seconds / 2)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(GRACE_SECONDS)
        ended.append(time.monotonic() - began)

    thread = threading.Thread(target=terminate)
    thread.start()
    tally = run_clients(server, expected, count, seconds + GRACE_SECONDS)
    thread.join()
    assert ended, f"it did not end within {GRACE_SECONDS} s"
    assert set(tally.outcomes) <= {"right", "refused", "503"}, (tally.outcomes, tally.problems[:3])
    assert tally.outcomes["right"] >= count
    return {
        "clients": count,
        "replies, all whole": tally.outcomes["right"],
        "cut": tally.outcomes["cut"],
        "refused after the signal": tally.outcomes["refused"] + tally.outcomes["503"],
        "seconds to the end": round(ended[0], 2),
    }


def killing(server: Server, kills: int) -> Figures:
    """SIGKILL of the serving process: the supervisor starts another, which answers. Its socket is the
    supervisor's, so that who connects meanwhile waits, and is not refused."""
    body = {"n": 1, "seed": 1}
    waited: list[float] = []
    for _ in range(kills):
        httpx.post(f"{server.url}/sample", json=body).raise_for_status()
        worker = serving_process(server)
        began = time.monotonic()
        worker.kill()
        while not _answers(server, body):
            assert time.monotonic() - began < RETURN_SECONDS, server.log.read_text()[-3000:]
            time.sleep(0.05)
        waited.append(time.monotonic() - began)
    return {"kills": kills, "seconds to the next reply, at most": round(max(waited), 2)}


def serving_process(server: Server) -> psutil.Process:
    """The process that listens and runs the engines; the one that supervises it is its parent."""
    children = psutil.Process(server.process.pid).children(recursive=True)
    return max(children, key=lambda process: process.memory_info().rss)


def _answers(server: Server, body: Mapping[str, object]) -> bool:
    try:
        return (
            httpx.post(f"{server.url}/sample", json=body, timeout=RETURN_SECONDS).status_code == 200
        )
    except httpx.HTTPError:
        return False


def soak(
    server: Server, expected: Expected, count: int, seconds: float, periods: int = 10
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
        "replies, all right": replies,
        "MB resident after the first tenth, and at most later": f"{memory[0]:.0f}, "
        f"{max(memory[1:]):.0f}",
        "open files, first and at most": f"{files[0]}, {max(files[1:])}",
        "threads, first and at most": f"{threads[0]}, {max(threads[1:])}",
    }


def listening_elsewhere(server: Server) -> list[str]:
    """Addresses other than the loopback on which a process of the service listens."""
    supervisor = psutil.Process(server.process.pid)
    found: list[str] = []
    for process in (supervisor, *supervisor.children(recursive=True)):
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.ip != "127.0.0.1":
                found.append(f"{connection.laddr.ip}:{connection.laddr.port}")
    return found
