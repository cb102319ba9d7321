"""The service's two processes: what each leaves alone, what ends with what, what never starts."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

from benchmarks.speed.servers import Running, Server, ours, running
from bento.server import supervision
from bento.server.front import ApiKey
from export.__main__ import main as export_main
from tests.bento.support import FP32, ROOT
from tests.reliability.scenarios import serving_process

SECONDS = 30.0
"""Until a test gives up; BentoML's supervisor looks for ended workers every 10 s."""


def eventually(found: Callable[[], bool], what: str) -> None:
    give_up = time.monotonic() + SECONDS
    while not found():
        assert time.monotonic() < give_up, f"expected {what} within {SECONDS:g} s"
        time.sleep(0.05)


def count(server: Running, seed: int) -> str:
    """What the service's metrics say of its requests, after another one."""
    httpx.post(f"{server.url}/sample", json={"seed": seed}).raise_for_status()
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    return next(
        line for line in lines if line.startswith('latentserve_requests_total{endpoint="/s')
    )


def test_services_of_one_user_have_metrics_of_their_own(artifacts: Path, tmp_path: Path) -> None:
    # What all services of a user share, and where they keep what they do not.
    shared = {**FP32, "BENTOML_HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)}
    with running(ours(artifacts, shared)) as first:
        assert count(first, 1).endswith(" 1.0")
        assert count(first, 2).endswith(" 2.0")
        with running(ours(artifacts, shared)) as second:
            assert count(second, 3).endswith(" 1.0")
            assert count(first, 4).endswith(" 3.0")
            assert len(list(tmp_path.glob("latentserve-metrics-*"))) == 2
        assert count(first, 5).endswith(" 4.0")
    assert list(tmp_path.glob("latentserve-metrics-*")) == []


def test_the_worker_ends_with_its_supervisor(artifacts: Path, tmp_path: Path) -> None:
    server = ours(artifacts, {**FP32, "TMPDIR": str(tmp_path)})
    with running(server) as first:
        worker = serving_process(first)
        first.process.kill()
        first.process.wait(SECONDS)
        eventually(lambda: not worker.is_running(), "the worker to end")
        eventually(lambda: not list(tmp_path.glob("latentserve-metrics-*")), "a tidy end")
        with socket.socket() as another:
            another.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            another.bind(("127.0.0.1", first.port))


@pytest.mark.parametrize("how", ["system", "watch"])
def test_a_process_ends_with_its_parent(how: str) -> None:
    child = (
        "import os, signal, time; from runtime import parent\n"
        + ("parent._told_by_the_system = lambda number: False\n" if how == "watch" else "")
        + "parent.end_with_parent(os.getppid(), signal.SIGTERM)\n"
        "print(os.getpid(), flush=True); time.sleep(60)\n"
    )
    code = (
        "import subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}], stdout=1)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        started = psutil.Process(int(process.stdout.readline()))
        assert started.is_running()
        process.kill()
        _, left = psutil.wait_procs([started], timeout=SECONDS)
        assert not left


def test_one_whose_parent_has_ended_before_ends_at_once() -> None:
    code = "import signal; from runtime import parent; parent.end_with_parent(1 << 22, 15); input()"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE) as process:
        assert process.wait(SECONDS) == -signal.SIGTERM


def refusal(server: Server) -> str:
    """What a service that must not start says."""
    with pytest.raises(RuntimeError) as refused, running(server):
        pass
    command, _, said = str(refused.value).partition("\n")
    assert command.endswith("the server ended with status 1"), refused.value
    return said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_KEY", " " * 20),
        ("API_KEY", "   fifteen letters   "[:17]),
        ("API_KEY", "sixteen letters\n and a line"),
        ("API_KEY", "\udcff\udcfe" * 10),
        ("MAX_IMAGES", "0"),
        ("MAX_IMAGES", "9" * 5000),
        ("MAX_IMAGES", "\udcff"),
        ("QUEUE_IMAGES", "10000000"),
        ("TIMEOUT_SECONDS", "1e300"),
        ("TIMEOUT_SECONDS", "nan"),
        ("RELOAD_SECONDS", "1e300"),
        ("LOAD_SECONDS", "-1"),
        ("LOAD_BYTES", "1"),
        ("CORS_ORIGINS", "app.example.org"),
        ("CORS_ORIGINS", "https://a.test/"),
        ("ARTIFACTS", "/nowhere/\udcff"),
        ("SIGNED_BY", "/nowhere"),
        ("CACHE", "/nowhere/\udcff"),
        ("CACHE", ""),
        ("ARTIFACTS", " "),
        ("API_KEY", ""),
        ("NO_SETTING", "1"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line(name: str, value: str) -> None:
    variable = f"LATENTSERVE_{name}"
    code = "import bento.service"  # what the supervisor and the worker do first
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), variable: value}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=given, capture_output=True, timeout=SECONDS,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == b""
    (line,) = done.stderr.decode("utf-8").splitlines()
    assert line.startswith(variable)
    if name == "API_KEY":
        assert "letters" not in line


def test_the_supervisor_refuses_a_key_that_is_no_text(artifacts: Path) -> None:
    server = ours(artifacts, {"LATENTSERVE_API_KEY": "\udcff\udcfe" * 10})
    assert refusal(server).splitlines() == [
        "LATENTSERVE_API_KEY: expected printable characters of UTF-8"
    ]


def test_a_worker_whose_settings_have_become_wrong_ends_the_service(
    artifacts: Path, tmp_path: Path
) -> None:
    assert export_main(["keys", str(tmp_path / "secret.pem")]) == 0
    public = tmp_path / "secret.pub.pem"
    server = ours(artifacts, {"LATENTSERVE_SIGNED_BY": str(public)})
    with running(replace(server, ready="/livez")) as own:
        public.unlink()
        serving_process(own).kill()
        own.process.wait(SECONDS)
        assert "LATENTSERVE_SIGNED_BY" in own.log.read_text("utf-8")


def test_a_worker_says_why_before_it_ends_the_service(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    monkeypatch.setattr(supervision, "is_worker", lambda: True)
    monkeypatch.setattr(os, "kill", lambda *_: said.append(capfd.readouterr().err))
    with pytest.raises(SystemExit) as ended:
        supervision.refuse_to_start("no key")
    assert said == ["no key\n"]
    assert ended.value.code == 1


def test_an_empty_key_is_no_key() -> None:
    with pytest.raises(ValueError, match="expected a key"):
        ApiKey(lambda *_: None, "   ")  # pyright: ignore[reportArgumentType]


def test_spaces_around_the_key_do_not_count(artifacts: Path) -> None:
    key = "a key of many letters"
    server = ours(artifacts, {**FP32, "LATENTSERVE_API_KEY": f"  {key} "})
    with running(replace(server, ready="/livez")) as own:

        def status(value: str | None) -> int:
            # As they are: libraries refuse to send some of these.
            connection = http.client.HTTPConnection("127.0.0.1", own.port, timeout=SECONDS)
            with closing(connection):
                connection.putrequest("GET", "/models")
                if value is not None:
                    connection.putheader("Authorization", value)
                connection.endheaders()
                return connection.getresponse().status

        for refused in (
            None,
            "Bearer",
            "Bearer ",
            "Bearer  ",
            "",
            f"Basic {key}",
            f"Bearer {key}x",
        ):
            assert status(refused) == 401, refused
        assert status(f"Bearer {key}") == 200
        assert status(f"bearer   {key}  ") == 200
