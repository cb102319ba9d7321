"""Models are loaded beside serving; what takes too much is ended, and the others are served."""

import logging
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

import bento.repository.loader
from benchmarks.speed.servers import Running, Server, family, ours, running
from bento.repository.models import Models
from bento.repository.trials import Order, Trials
from bento.settings import Settings
from runtime import Limits
from runtime.artifact.reading import read_artifact, read_head
from runtime.engines.backend import Variant
from runtime.engines.cache import CHOICES
from runtime.engines.choice import choice_subject, remember_variant
from runtime.engines.library import EngineRequest
from runtime.engines.registry import candidates
from tests.bento.hostile import write_large, write_slow
from tests.bento.support import FP32
from tests.tiny import write_artifact

EXACT = {"backend": "onnxruntime", "precision": "fp32"}
PATIENCE = 60.0
"""Seconds until a test gives up."""
TRIALS = "bento.repository.trials"
"""In the command line of the process that tries artifacts."""


def eventually(found: Callable[[], Any], what: str) -> Any:
    """What `found` returns once it is true."""
    give_up = time.monotonic() + PATIENCE
    while not (value := found()):
        assert time.monotonic() < give_up, f"expected {what} within {PATIENCE:g} s"
        time.sleep(0.05)
    return value


def alive(artifacts: Path, **settings: str) -> Server:
    """The service, waited for only until it answers at all."""
    given = {f"LATENTSERVE_{name.upper()}": value for name, value in settings.items()}
    return replace(
        ours(artifacts, {**FP32, "LATENTSERVE_BACKEND": "onnxruntime", **given}), ready="/livez"
    )


@contextmanager
def models_of(folder: Path, **settings: Any) -> Iterator[Models]:
    models = Models(Settings(artifacts=folder, **{**EXACT, **settings}))
    try:
        yield models
    finally:
        models.close()


def served(models: Models) -> list[str]:
    return [model.manifest.full_name for model in models]


def listed(server: Running) -> dict[str, list[str]]:
    reply = httpx.get(f"{server.url}/models", timeout=PATIENCE).json()
    return {state: [entry["name"] for entry in entries] for state, entries in reply.items()}


def trials_of(server: Running, seconds: float = 0.0) -> list[psutil.Process]:
    """The processes that try artifacts and have worked for so long."""
    found: list[psutil.Process] = []
    for process in family(server.process):
        with suppress(psutil.Error):  # it has ended
            if TRIALS in process.cmdline() and process.cpu_times().user >= seconds:
                found.append(process)
    return found


def test_a_graph_that_takes_minutes_does_not_hold_up_the_others(tmp_path: Path) -> None:
    write_slow(tmp_path, "a-slow", products=1000)
    write_artifact(tmp_path, "plain")
    with running(alive(tmp_path, load_seconds=f"{2 * PATIENCE}")) as server:
        eventually(lambda: "tiny-plain" in listed(server)["models"], "the other to be served")
        assert listed(server)["loading"] == ["a-slow"]
        with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
            body = {"model": "tiny-plain", "n": 1, "seed": 1}
            assert client.post("/sample", json=body).status_code == 200
            unready = client.get("/readyz")
            assert unready.status_code == 503
            assert unready.json()["error"] == "not ready: artifacts are being loaded"
            (loading,) = unready.json()["loading"]
            assert loading["name"] == "a-slow"
            assert loading["doing"]
            # Which is the first by name is not known yet.
            for awaited in ({"model": "a-slow"}, {}):
                reply = client.post("/sample", json=awaited)
                assert reply.status_code == 503
                assert reply.headers["retry-after"] == "1"
                assert reply.json()["error"] == "not ready: a-slow is being loaded"

            def ready() -> bool:
                # A limit of seconds would end it in the middle of all this on a busy machine.
                for process in trials_of(server, seconds=3):
                    process.kill()
                return client.get("/readyz").status_code == 200

            eventually(ready, "readiness")
            (failed,) = client.get("/models").json()["failed"]
            assert failed["name"] == "a-slow"
            assert "ended with SIGKILL: expected to load in" in failed["error"]
            assert client.post("/sample", json={}).headers["x-model"] == "tiny-plain@1"


def test_it_says_what_is_being_done(tmp_path: Path) -> None:
    said: list[str] = []
    head = read_head(write_artifact(tmp_path / "artifacts", "plain"))
    cache = tmp_path / "cache"
    order = Order(str(head.folder), head.digest, "auto", "fp32", "cpu", str(cache), None, 4 << 30)
    trials = Trials()
    try:
        trials.verdict(order, PATIENCE, said.append)
    finally:
        trials.end()
    assert any(re.match(r"measuring \d+ ways to run tiny-plain, about \d+ s", s) for s in said)
    assert said[-1].startswith("loaded tiny-plain@1")


def test_it_ends_while_it_loads(tmp_path: Path) -> None:
    write_slow(tmp_path, "slow", products=1000)
    with running(alive(tmp_path)) as server:
        begun = eventually(lambda: trials_of(server), "a trial to begin")
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(PATIENCE)
        psutil.wait_procs(begun, timeout=5)
        assert not any(process.is_running() for process in begun)


def test_memory_is_bounded(tmp_path: Path) -> None:
    write_large(tmp_path, "large", values=1 << 27)
    write_artifact(tmp_path, "plain")
    with models_of(tmp_path, load_bytes=400 << 20, load_seconds=60) as models:
        models.load()
        assert served(models) == ["tiny-plain@1"]
        (failed,) = models.failed
        assert failed.name == "large"
        assert failed.error.startswith("expected to load in 400 MiB of memory")


def test_a_version_that_takes_too_long_changes_nothing(tmp_path: Path) -> None:
    write_artifact(tmp_path, "plain")
    with models_of(tmp_path, load_seconds=4) as models:
        models.load()
        models.refresh()
        slow = write_slow(tmp_path / "elsewhere", "tiny-plain", version=2)
        slow.rename(tmp_path / "tiny-plain" / "2")
        models.refresh()
        models.refresh()
        assert served(models) == ["tiny-plain@1"]
        (failed,) = models.failed
        assert (failed.name, failed.version) == ("tiny-plain", 2)
        assert failed.error.startswith("expected to load within 4 s, it took longer")
        assert models.get("tiny-plain").sample(1, seed=1).shape == (1, 8, 8, 3)


def test_what_passed_its_trial_needs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts, cache = tmp_path / "artifacts", tmp_path / "cache"
    write_artifact(artifacts, "plain")
    started: list[Trials] = []

    class Counted(Trials):
        def __init__(self) -> None:
            super().__init__()
            started.append(self)

    monkeypatch.setattr(bento.repository.loader, "Trials", Counted)

    def load(**settings: Any) -> int:
        before = len(started)
        with models_of(artifacts, cache=cache, **settings) as models:
            models.load()
            assert served(models) == ["tiny-plain@1"], models.failed
        return len(started) - before

    assert load() == 1
    assert load() == 0
    # Other limits, or another way to run it, or another artifact: another trial.
    assert load(load_seconds=77.0) == 1
    assert load(backend="openvino") == 1
    write_artifact(artifacts, "plain", seed=5)
    assert load() == 1
    # A damaged memory is none.
    for record in (cache / "trials").iterdir():
        record.write_bytes(b"[" * 100_000)
    assert load() == 1
    assert load(load_seconds=0) == 0


def test_what_is_measured_anew_is_served_from_the_next_start_on(tmp_path: Path) -> None:
    """`latentserve tune` says so. Before, the trial's own memory came first for ever."""
    artifacts, cache = tmp_path / "artifacts", tmp_path / "cache"
    artifact = read_artifact(write_artifact(artifacts, "plain"))
    request = EngineRequest("auto", "fp32", "auto")

    def loaded() -> Variant:
        with models_of(artifacts, backend="auto", cache=cache) as models:
            models.load()
            return models.get("tiny-plain").variant

    first = loaded()
    other = next(each for each in candidates(artifact, request, cache) if each != first)
    setting = partial(Limits().setting, artifact)
    remember_variant(cache, CHOICES, choice_subject(artifact, request, setting, cache), other)
    assert loaded() == other


def test_the_log_says_what_was_measured_now(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    artifacts, cache = tmp_path / "artifacts", tmp_path / "cache"
    write_artifact(artifacts, "plain")
    told: list[str] = []
    # The second time all is remembered, the third time what was measured.
    for seconds in (70.0, 70.0, 77.0):
        caplog.clear()
        settings = {"backend": "auto", "cache": cache, "load_seconds": seconds}
        with caplog.at_level(logging.INFO), models_of(artifacts, **settings) as models:
            models.load()
            assert served(models) == ["tiny-plain@1"], models.failed
        assert "earlier" not in caplog.text
        told.append(" ".join(re.findall(r"tiny-plain@1: (tried.*)", caplog.text)))
    assert told == ["tried and measured now", "", "tried now"]


def test_several_artifacts_are_tried_by_the_same_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        write_artifact(tmp_path, "plain", name=f"number-{number}", seed=number)
    damaged = tmp_path / "number-3" / "1" / "golden.npz"
    damaged.write_bytes(b"")
    with models_of(tmp_path) as models:
        models.load()
        assert served(models) == [f"number-{number}@1" for number in (0, 1, 2, 4, 5)]
        assert [failed.name for failed in models.failed] == ["number-3"]
    assert not [p for p in psutil.Process().children() if TRIALS in p.cmdline()]


def test_a_trial_that_is_killed_is_a_failure_with_a_reason(tmp_path: Path) -> None:
    write_slow(tmp_path, "slow", products=1000)
    with models_of(tmp_path) as models:
        loading = threading.Thread(target=models.load)
        loading.start()

        def trials() -> list[psutil.Process]:
            children = psutil.Process().children()
            return [p for p in children if TRIALS in p.cmdline() and p.cpu_times().user > 3]

        (process,) = eventually(trials, "a trial to work")
        process.kill()
        loading.join(PATIENCE)
        (failed,) = models.failed
        assert "ended with SIGKILL: expected to load in 8192 MiB" in failed.error


def test_what_changes_while_it_is_loaded_is_not_opened(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path, "plain")
    order = Order(
        artifact=str(artifact),
        manifest="0" * 64,
        backend="onnxruntime",
        precision="fp32",
        device="cpu",
        cache=str(tmp_path / "cache"),
        signed_by=None,
        bytes=4 << 30,
    )
    trials = Trials()
    try:
        with pytest.raises(Exception, match="changed while it was loaded"):
            trials.verdict(order, PATIENCE)
        assert trials.ended
    finally:
        trials.end()


def test_a_folder_with_a_name_of_other_bytes_is_listed(tmp_path: Path) -> None:
    write_artifact(tmp_path, "plain").parent.rename(Path(f"{tmp_path}/\udcff\udcfe"))
    with running(alive(tmp_path)) as server:
        eventually(lambda: listed(server)["failed"], "a failure")
        assert listed(server)["failed"] == ["??"]
