"""Several workers of one service: what is divided, what is summed, and what ends with what."""

import asyncio
import os
import re
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest

from benchmarks.speed.servers import Running, Server, ours, running
from bento.server.accepting import Board, Listener
from bento.server.workers import Workers, check_workers, devices_of
from bento.settings import Settings, share
from bento.traffic.metrics import forget_ended
from runtime.machine import cores
from tests.bento.support import FP32, ROOT
from tests.bento.test_processes import SECONDS, eventually, refusal
from tests.bento.test_serve import COMMAND
from tests.tiny import write_artifact

needs_two_cores = pytest.mark.skipif(cores() < 2, reason="one core is not divided")

BODY = {"model": "tiny-vae", "seed": 1}


# What is divided


def test_limits_of_the_whole_service_are_divided_and_those_of_a_request_stay() -> None:
    settings = Settings(workers=3, queue_images=10, max_connections=4, memory_bytes=3 << 20)
    part = share(settings)
    assert (part.queue_images, part.memory_bytes, part.max_connections) == (3, 1 << 20, 2)
    assert part.max_requests == settings.max_requests // 3
    assert part.opening_pixels == settings.opening_pixels // 3
    changed = {name for name in Settings.model_fields if vars(part)[name] != vars(settings)[name]}
    assert len(changed) == 5
    assert share(Settings()) == Settings()


def test_no_more_workers_than_cores() -> None:
    check_workers(Settings(workers=cores()))
    with pytest.raises(ValueError, match=rf"LATENTSERVE_WORKERS={cores() + 1}: expected at most"):
        check_workers(Settings(workers=cores() + 1))


def test_too_many_workers_stop_the_start(artifacts: Path) -> None:
    said = refusal(ours(artifacts, {"LATENTSERVE_WORKERS": str(cores() + 1)}))
    (line,) = said.splitlines()
    assert line.startswith(f"LATENTSERVE_WORKERS={cores() + 1}: expected at most {cores()}")


@pytest.mark.parametrize(
    ("visible", "count", "expected"),
    [
        ("0,1", 2, [["0"], ["1"]]),
        ("3, GPU-5", 3, [["3"], ["GPU-5"], ["3"]]),
        ("0,1,2,3,4", 2, [["0", "1"], ["2", "3", "4"]]),
        ("", 2, [[], []]),
    ],
)
def test_every_device_has_a_worker(visible: str, count: int, expected: list[list[str]]) -> None:
    found = [devices_of(visible.split(","), index, count) for index in range(count)]
    assert found == expected


# What they tell one another


def test_they_are_ready_together_and_a_successor_is_known(tmp_path: Path) -> None:
    first, second = Workers(0, 2, tmp_path), Workers(1, 2, tmp_path)
    assert first.missing() == "artifacts are being loaded: 0 of 2 workers have them"
    first.note_loaded()
    assert second.missing() == "artifacts are being loaded: 1 of 2 workers have them"
    assert not second.is_successor
    second.join()  # returns at once: nobody else serves yet
    second.note_loaded()
    assert first.missing() is None
    assert Workers(1, 2, tmp_path).is_successor
    assert Workers(0, 1, tmp_path / "none").missing() is None


def test_gauges_of_a_process_that_ended_are_forgotten(tmp_path: Path) -> None:
    (ended,) = {1 << 22} - set(psutil.pids())  # beyond what Linux gives
    stays = ["counter_5.db", f"counter_{ended}.db", f"gauge_livesum_{os.getpid()}.db", "loaded-0"]
    for name in (*stays, f"gauge_livesum_{ended}.db", f"gauge_livemax_{ended}.db"):
        (tmp_path / name).touch()
    forget_ended(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(stays)


def test_connections_go_to_the_worker_with_the_fewest(tmp_path: Path) -> None:
    asyncio.run(_connect_many(tmp_path / "board"))


async def _connect_many(file: Path) -> None:
    """Three workers in one loop, of which the first has three connections already."""
    loop, boards = asyncio.get_running_loop(), [Board(file, index, 3) for index in range(3)]
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        address = listening.getsockname()
        sockets = [stack.enter_context(listening.dup()) for _ in boards]
        listeners = [
            Listener(loop, partial(_Ending, board), own, board, None)
            for board, own in zip(boards, sockets, strict=True)
        ]
        for _ in range(3):
            boards[0].gain()
        clients = [stack.enter_context(socket.create_connection(address)) for _ in range(12)]
        await _until(lambda: sum(board.own for board in boards) == 15)
        assert [board.own for board in boards] == [5, 5, 5]
        listeners[0].close()
        for _ in range(6):
            clients.append(stack.enter_context(socket.create_connection(address)))
        await _until(lambda: sum(board.own for board in boards) == 21)
        assert [board.own for board in boards] == [5, 8, 8]
        for client in clients:
            client.close()
        await _until(lambda: [board.own for board in boards] == [3, 0, 0])
        for listener in listeners[1:]:
            listener.close()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no such sockets here")
def test_connections_of_a_unix_socket_are_accepted(tmp_path: Path) -> None:
    asyncio.run(_connect_by_path(tmp_path / "socket"))


async def _connect_by_path(path: Path) -> None:
    with (
        socket.socket(socket.AF_UNIX) as listening,
        socket.socket(socket.AF_UNIX) as client,
    ):
        listening.bind(str(path))
        listening.listen()
        board = Board(None, 0, 1)
        listener = Listener(
            asyncio.get_running_loop(), partial(_Ending, board), listening, board, None
        )
        client.connect(str(path))
        await _until(lambda: board.own == 1)
        client.setblocking(False)
        async with asyncio.timeout(SECONDS):
            assert await asyncio.get_running_loop().sock_recv(client, 5) == b"hello"
        client.close()
        await _until(lambda: board.own == 0)
        listener.close()


class _Ending(asyncio.Protocol):
    def __init__(self, board: Board) -> None:
        self._board = board

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(b"hello")

    def connection_lost(self, exc: Exception | None) -> None:
        self._board.lose()


async def _until(found: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not found():
            await asyncio.sleep(0.001)


# The service


def two(artifacts: Path, **settings: str) -> Server:
    given = {f"LATENTSERVE_{name.upper()}": value for name, value in settings.items()}
    own = {**FP32, "LATENTSERVE_BACKEND": "onnxruntime", "LATENTSERVE_WORKERS": "2", **given}
    return ours(artifacts, own)


@pytest.fixture(scope="module")
def service(artifacts: Path) -> Iterator[Running]:
    """Started as users start it."""
    options = ("--artifacts", str(artifacts), "--workers", "2", "--port", "{port}")
    environment = {
        **FP32,
        "LATENTSERVE_BACKEND": "onnxruntime",
        "LATENTSERVE_LOAD_SECONDS": "0",
        "PYTHONPATH": str(ROOT),
    }
    with running(Server((*COMMAND, "serve", *options), environment=environment)) as started:
        yield started


def serving(server: Running) -> list[psutil.Process]:
    """The workers that run."""
    found: list[psutil.Process] = []
    for child in psutil.Process(server.process.pid).children(recursive=True):
        with suppress(psutil.Error):  # it has ended
            if "_bentoml_impl.worker.service" in child.cmdline():
                found.append(child)
    return found


def ask_both(server: Running, path: str, body: object = None) -> list[httpx.Response]:
    """One request on each of two connections, which are there at once."""
    with ExitStack() as stack:
        clients = [
            stack.enter_context(httpx.Client(base_url=server.url, timeout=SECONDS))
            for _ in range(2)
        ]
        replies = [client.get("/livez") for client in clients]
        assert {reply.status_code for reply in replies} == {200}
        if body is None:
            return [client.get(path) for client in clients]
        return [client.post(path, json=body) for client in clients]


def told(server: Running, start: str) -> list[float]:
    """The values of the metrics whose lines begin so."""
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    return [float(line.rpartition(" ")[2]) for line in lines if line.startswith(start)]


@needs_two_cores
def test_each_worker_answers_the_same_and_metrics_are_summed(service: Running) -> None:
    counted = 'latentserve_requests_total{endpoint="/sample",model="tiny-vae",status="200"}'
    for number in (1, 2):
        replies = ask_both(service, "/sample", BODY)
        assert {reply.status_code for reply in replies} == {200}
        assert len({reply.content for reply in replies}) == 1
        # Ids begin with what each process has drawn.
        assert len({reply.headers["x-request-id"][:8] for reply in replies}) == 2
        assert told(service, counted) == [2.0 * number]
    info = told(service, "latentserve_model_info")
    assert info == [1.0] * len(httpx.get(f"{service.url}/models").json()["models"])
    assert told(service, "latentserve_artifacts_failed") == [1.0]


@needs_two_cores
def test_gauges_of_all_workers_are_told_by_each(service: Running) -> None:
    with ExitStack() as stack:
        body = {"model": "tiny-plain", "n": 1_000_000, "seed": 1, "format": "npy"}
        for _ in range(2):  # streams that nobody reads go on, one in each worker
            client = stack.enter_context(httpx.Client(base_url=service.url, timeout=SECONDS))
            reply = stack.enter_context(client.stream("POST", "/sample", json=body))
            assert reply.status_code == 200
        eventually(
            lambda: told(service, "latentserve_requests_in_flight") == [2.0], "both to be counted"
        )
    eventually(lambda: told(service, "latentserve_requests_in_flight") == [0.0], "none to be left")


@needs_two_cores
def test_the_cores_are_divided(service: Running) -> None:
    if not hasattr(psutil.Process, "cpu_affinity"):
        pytest.skip("cores are not bound here")
    parts = [set(worker.cpu_affinity()) for worker in serving(service)]
    assert set.union(*parts) == os.sched_getaffinity(0)
    assert not set.intersection(*parts)
    for worker in serving(service):
        for thread in Path(f"/proc/{worker.pid}/task").iterdir():
            assert os.sched_getaffinity(int(thread.name)) == set(worker.cpu_affinity())


@needs_two_cores
def test_an_artifact_is_tried_once(tmp_path: Path) -> None:
    write_artifact(tmp_path / "mine", "vae")
    write_artifact(tmp_path / "mine", "plain")
    cache = tmp_path / "cache"
    with running(two(tmp_path / "mine", backend="auto", cache=str(cache))) as server:
        lines = server.log.read_text("utf-8").splitlines()
    assert len(list((cache / "trials").iterdir())) == 2
    assert len(list((cache / "choices").iterdir())) == 2
    # Who tries it loads it in the process of trials, and then as every worker does.
    loaded = Counter(re.findall(r"loaded (tiny-\w+)@1", "\n".join(lines)))
    assert loaded == {"tiny-vae": 2, "tiny-plain": 2}


@needs_two_cores
def test_a_worker_that_is_killed_is_replaced_while_the_other_serves(artifacts: Path) -> None:
    with running(two(artifacts, load_seconds="0")) as server:
        before = serving(server)
        ask_both(server, "/sample", BODY)
        killed = before[0]
        part = killed.cpu_affinity() if hasattr(killed, "cpu_affinity") else []
        killed.kill()
        answered = 0

        def replaced() -> bool:
            nonlocal answered
            # The one that is left answers, and the successor only when it has loaded its models.
            assert httpx.post(f"{server.url}/sample", json=BODY, timeout=SECONDS).is_success
            assert httpx.get(f"{server.url}/readyz", timeout=SECONDS).is_success
            answered += 1
            now = serving(server)
            return len(now) == 2 and killed not in now

        eventually(replaced, "a successor")
        assert answered > 1
        (successor,) = set(serving(server)) - set(before)
        if part:
            eventually(lambda: successor.cpu_affinity() == part, "the same share of the cores")
        eventually(
            lambda: len({r.headers["x-request-id"][:8] for r in ask_both(server, "/models")}) == 2,
            "the successor to answer",
        )
        # What was counted stays, and a gauge of the one that is gone is not added.
        (total,) = told(
            server, 'latentserve_requests_total{endpoint="/sample",model="tiny-vae",status="200"}'
        )
        assert total == answered + 2
        assert told(server, "latentserve_requests_in_flight") == [0.0]


@needs_two_cores
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_all_workers_end_with_the_supervisor(
    artifacts: Path, tmp_path: Path, number: signal.Signals
) -> None:
    server = replace(two(artifacts, load_seconds="0"))
    server = replace(server, environment={**server.environment, "TMPDIR": str(tmp_path)})
    with running(server) as own:
        workers = serving(own)
        assert len(workers) == 2
        own.process.send_signal(number)
        own.process.wait(SECONDS)
        _, alive = psutil.wait_procs(workers, timeout=SECONDS)
        assert not alive
        eventually(lambda: not list(tmp_path.glob("latentserve-metrics-*")), "a tidy end")
        with socket.socket() as another:
            another.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            another.bind(("127.0.0.1", own.port))
