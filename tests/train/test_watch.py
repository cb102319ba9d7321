"""The page of a run, over HTTP: what it tells, what it takes, and whom it refuses."""

import json
import logging
import re
import socket
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import numpy as np
import pytest

from tests.train.conftest import random_splits, tiny_vae
from train.__main__ import _run, main
from train.data import load
from train.errors import OptionError, RunError
from train.loop import train
from train.recipes import RECIPES, Recipe
from train.sheet import save_sheet
from train.training import Training
from train.watch import Watch
from train.watch import watch as watching
from train.watch.pace import Pace

WAIT = 30.0
"""Seconds; only ever reached when something is broken."""


def until(holds: Callable[[], Any]) -> Any:
    end = time.monotonic() + WAIT
    while not (found := holds()):
        assert time.monotonic() < end, "never"
        time.sleep(0.01)
    return found


class Run:
    """A run that trains in a thread of its own, and is watched; paused before its second step."""

    def __init__(self, recipe: Recipe, out: Path) -> None:
        self.watch = Watch()
        self.watch.pace.pause()
        data = load(recipe.source, None, recipe.image) if recipe.source != "random" else None
        data = data or random_splits(recipe.image)

        def work() -> None:
            with self.watch:
                train(recipe, data, out, device="cpu", watch=self.watch)

        self.thread = threading.Thread(target=work)
        self.client = httpx.Client(base_url=self.watch.url)

    def state(self, after: int = 0) -> dict[str, Any]:
        return self.client.get(f"/state?after={after}").json()

    def order(self, **body: Any) -> httpx.Response:
        return self.client.post("/pace", json=body)

    def end(self) -> None:
        self.watch.pace.go_on()
        until(lambda: self.look() or not self.thread.is_alive())
        self.thread.join(WAIT)
        self.client.close()

    def look(self) -> bool:
        """Look, as a page does, or the run would wait for it; whether it has ended."""
        with suppress(httpx.TransportError):
            return self.state()["state"] not in watching.RUNNING
        return True


@pytest.fixture
def vae(tmp_path: Path) -> Iterator[Run]:
    run = Run(tiny_vae(), tmp_path)
    run.thread.start()
    yield run
    run.end()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setattr(watching, "_FAREWELL", 0.0)  # no page looks
    with Watch() as watch, httpx.Client(base_url=watch.url) as client:
        yield client


def test_a_run_is_paused_stepped_and_let_go(vae: Run, tmp_path: Path) -> None:
    first = until(lambda: (found := vae.state())["step"] == 1 and found)
    assert (first["state"], first["paused"], first["rate"]) == ("training", True, None)
    assert (first["recipe"], first["steps"], first["images"]) == ("tiny_vae", 6, 24)
    assert [line["step"] for line in first["losses"]] == [1]
    assert vae.order(do="step", steps=2).status_code == 200
    third = until(lambda: (found := vae.state(after=1))["step"] == 3 and found)
    assert third["paused"]
    assert [line["step"] for line in third["losses"]] == [2, 3]
    assert third["losses"][0]["elbo/loss"] > 0
    vae.order(do="go on")
    until(lambda: vae.watch.state == "finished")
    last = vae.state(after=3)  # a page that was looking is waited for
    assert last["figures"]["test_loss"] > 0
    assert last["sheets"][-1] == "00000006.png"
    vae.thread.join(WAIT)
    assert (tmp_path / "run.json").is_file()


def test_a_page_tells_that_figures_are_computed(vae: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last step of a large run this takes minutes."""
    seen, evaluate = threading.Event(), Training.evaluate

    def evaluated(*given: Any) -> dict[str, float]:
        assert seen.wait(WAIT)
        return evaluate(*given)

    monkeypatch.setattr(Training, "evaluate", evaluated)
    vae.order(do="go on")
    until(lambda: vae.state()["state"] == "evaluating")
    seen.set()
    until(lambda: vae.state()["state"] == "finished")


def test_a_folder_is_one_run_s_at_a_time(vae: Run, tmp_path: Path) -> None:
    """Before its first checkpoint, too: two would write into each other's files."""
    until(lambda: vae.state()["step"] == 1)
    recipe = tiny_vae()
    for force in (False, True):
        with pytest.raises(RunError, match="in which no other run is at work, found one"):
            train(recipe, random_splits(recipe.image), tmp_path, device="cpu", force=force)
    vae.order(do="go on")
    until(lambda: vae.look() or not vae.thread.is_alive())
    vae.thread.join(WAIT)
    train(recipe, random_splits(recipe.image), tmp_path, device="cpu", resume=True)


def test_a_browser_gets_the_last_sheet_before_the_end(vae: Run) -> None:
    vae.client.get("/")
    vae.order(do="go on")
    last = until(lambda: (found := vae.state())["state"] == "finished" and found)
    assert last["sheets"][-1] == "00000006.png"
    assert vae.thread.is_alive()
    # By another connection, as a browser may open one.
    assert httpx.get(f"{vae.watch.url}samples/00000004.png").status_code == 200
    assert httpx.get(f"{vae.watch.url}samples/00000006.png").status_code == 200
    vae.thread.join(WAIT)
    assert not vae.thread.is_alive()


def test_ctrl_c_ends_the_wait_for_a_page_and_not_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that has ended must not be called stopped, with a command that would resume it."""

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with Watch() as watch:
        monkeypatch.setattr(watch, "_say_farewell", interrupted)
    assert watch.state == "finished"


def test_a_failure_without_a_text_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_FAREWELL", 0.0)  # no page looks
    with pytest.raises(MemoryError), Watch() as watch:
        raise MemoryError
    assert watch.state == "failed: MemoryError"


def test_a_pause_does_not_slow_what_the_log_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor what is said to be left: both are of the seconds in which it trained."""
    caplog.set_level(logging.INFO)
    run = Run(tiny_vae(), tmp_path)
    run.thread.start()
    until(lambda: run.state().get("step") == 1)
    time.sleep(2.0)
    run.end()
    (line,) = [line for line in caplog.messages if line.startswith("step 4 of 6")]
    (rate,) = re.findall(r"([0-9.e+]+) images/s", line)
    assert float(rate) > 4 * 10 / 2.0  # four steps of ten images, had the pause counted


def test_a_sheet_is_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(file: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(OSError, match="disk full"):
        save_sheet(tmp_path / "sheet.png", np.zeros((4, 8, 8, 1), np.uint8), 2)
    assert not list(tmp_path.iterdir())


def test_what_is_watched_ends_with_the_same_weights(tmp_path: Path) -> None:
    recipe = replace(RECIPES["rings_gan"](), steps=3, batch_size=8, log_every=1)
    run = Run(recipe, tmp_path / "watched")
    run.thread.start()
    until(lambda: run.state()["step"] == 1)
    run.end()
    train(recipe, load("rings", None, recipe.image), tmp_path / "alone", device="cpu")
    logs = [
        [
            {name: value for name, value in json.loads(line).items() if "second" not in name}
            for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        ]
        for name in ("watched", "alone")
    ]
    assert logs[0] == logs[1]


def test_a_run_in_the_plane_has_a_frame_of_the_step_that_it_is_held_at(tmp_path: Path) -> None:
    run = Run(replace(RECIPES["rings_gan"](), steps=3, batch_size=8), tmp_path)
    run.thread.start()
    shown = until(lambda: run.state().get("frame"))
    assert shown["step"] == 1
    assert len(shown["data"]) == len(shown["samples"]) == 512
    assert {len(row) for row in shown["field"]} == {len(shown["field"])}
    run.order(do="step", steps=1)
    until(lambda: run.state()["frame"]["step"] == 2)
    run.end()


def test_sheets_are_served_and_nothing_else_of_the_folder(vae: Run) -> None:
    vae.order(do="step", steps=3)
    name = until(lambda: vae.state().get("sheets"))[0]
    reply = vae.client.get(f"/samples/{name}")
    assert reply.headers["content-type"] == "image/png"
    assert reply.content.startswith(b"\x89PNG")
    for path in ("/samples/../run.json", "/samples/%2e%2e/run.json", "/run.json", "/samples/1.png"):
        assert vae.client.get(path).status_code == 404


def test_its_pages_forbid_whatever_is_not_from_here(server: httpx.Client) -> None:
    for path in ("/", "/watch.js", "/plane.js", "/style.css", "/state"):
        reply = server.get(path)
        assert reply.status_code == 200
        assert "default-src 'none'" in reply.headers["content-security-policy"]
        assert "unsafe" not in reply.headers["content-security-policy"]
    assert "http" not in server.get("/").text
    assert server.get("/state").json()["state"] == "starting"


def test_only_this_machine_and_its_name_are_answered(server: httpx.Client) -> None:
    assert server.base_url.host == "127.0.0.1"
    reply = server.get("/state", headers={"Host": "example.com"})
    assert reply.status_code == 421
    assert reply.json()["error"].startswith("expected the host 127.0.0.1:")
    body = {"do": "pause"}
    for other in ("example.com", "127.0.0.1.example.com:80", "localhost:80.example.com", ""):
        assert server.post("/pace", json=body, headers={"Host": other}).status_code == 421
    assert not server.get("/state").json()["paused"]


def test_a_tunnel_to_another_port_is_answered(server: httpx.Client) -> None:
    """`ssh -L 8000:127.0.0.1:PORT`, to see a run of another machine."""
    for host in ("127.0.0.1:8000", "localhost:8000", "localhost"):
        assert server.get("/state", headers={"Host": host}).status_code == 200


def test_a_length_that_is_no_number_of_bytes_is_refused(server: httpx.Client) -> None:
    head = "POST /pace HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", server.base_url.port or 0), WAIT) as client:
        client.sendall(f"{head}Content-Length: {'9' * 5000}\r\n\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("{", 422),
        ("[]", 422),
        ("[" * 1000, 422),
        ('{"do": "fly"}', 422),
        ('{"do": "step", "steps": 0}', 422),
        ('{"do": "step", "steps": "1"}', 422),
        ('{"do": "limit", "rate": 0}', 422),
        ('{"do": "limit", "rate": NaN}', 422),
        (f'{{"do": "pause", "x": "{"y" * 1000}"}}', 400),
    ],
)
def test_orders_that_mean_nothing_are_refused(server: httpx.Client, body: str, status: int) -> None:
    headers = {"Content-Type": "application/json"}
    reply = server.post("/pace", content=body, headers=headers)
    assert reply.status_code == status
    assert reply.json()["error"].startswith("expected ")
    assert not server.get("/state").json()["paused"]


def test_a_connection_that_ends_says_so(server: httpx.Client) -> None:
    """Else a client that goes on with it finds it closed: now and then, by who is faster."""
    headers = {"Content-Type": "application/json"}
    long = server.post("/pace", content="y" * 2000, headers=headers)
    assert (long.status_code, long.headers["Connection"]) == (400, "close")
    for _ in range(100):
        assert server.post("/pace", content="y" * 2000, headers=headers).status_code == 400
        assert server.get("/state").status_code == 200


def test_what_a_form_of_another_site_can_send_is_refused(server: httpx.Client) -> None:
    reply = server.post("/pace", content='{"do": "pause"}', headers={"Content-Type": "text/plain"})
    assert reply.status_code == 400
    assert server.post("/other", json={"do": "pause"}).status_code == 404
    assert server.get("/state?after=x").status_code == 422
    assert not server.get("/state").json()["paused"]


def test_a_rate_spreads_the_steps() -> None:
    pace, stop = Pace(), threading.Event()
    assert pace.hold(stop) < WAIT
    pace.limit(50.0)
    assert pace.hold(stop) >= 1 / 50
    pace.limit(None)
    pace.pause()
    stop.set()  # Ctrl-C ends what is paused
    pace.hold(stop)
    assert pace.paused


def test_as_an_option(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    command = ["digits_vae", "--out", str(tmp_path / "run"), "--device", "cpu", "--steps", "2"]
    assert main([*command, "--watch"]) == 0
    assert "watch it at http://127.0.0.1:" in caplog.text
    several = cast(Any, SimpleNamespace(count=2))
    with pytest.raises(OptionError, match="--watch: expected one process, found 2"):
        _run(Namespace(watch=True), several)
