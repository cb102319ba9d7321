"""Servers are gone afterwards, and say why where they do not start."""

import subprocess
import sys

import psutil
import pytest

from benchmarks.speed import servers
from benchmarks.speed.servers import Server, running

STATIC = Server((sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "{port}"), ready="/")


def test_a_server_runs_until_the_block_ends() -> None:
    with running(STATIC) as started:
        assert psutil.pid_exists(started.process.pid)
        assert started.resident_megabytes() > 1
        assert 0 < started.ready_seconds < servers.READY_SECONDS
    assert not psutil.pid_exists(started.process.pid)


def test_a_server_is_ended_on_an_exception() -> None:
    with pytest.raises(ZeroDivisionError), running(STATIC) as started:
        _ = 1 / 0
    assert not psutil.pid_exists(started.process.pid)


def test_children_that_ignore_the_polite_signal_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "PATIENCE", (0.2, 0.2, 10.0))
    code = (
        "import http.server, signal, subprocess, sys; "
        "child = 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print(1, flush=True); time.sleep(60)'; "
        "subprocess.Popen([sys.executable, '-c', child], start_new_session=True); "
        "http.server.test(http.server.SimpleHTTPRequestHandler, bind='127.0.0.1', "
        "port=int(sys.argv[1]))"
    )
    port = servers.free_port()
    command = [sys.executable, "-u", "-c", code, str(port)]
    with subprocess.Popen(command, cwd=servers.ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while process.stdout.readline() != b"1\n":  # until the child ignores it
            assert process.poll() is None
        family = servers.family(process)
        servers.stop(process)
    assert len(family) == 2
    assert not any(one.is_running() for one in family)


def test_a_server_that_does_not_start_tells_its_last_words() -> None:
    words = r"(?s)ended with status 1.*No module named nothing"
    nothing = Server((sys.executable, "-m", "nothing"))
    with pytest.raises(RuntimeError, match=words), running(nothing):
        pass
