"""What is remembered of a machine: who is about to measure something is alone with it."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from runtime.artifact.reading import Artifact, read_artifact
from runtime.engines import choice
from runtime.engines.backend import Setting
from runtime.engines.cache import alone, recall, remember
from runtime.engines.choice import choose
from runtime.engines.library import EngineRequest

SUBJECT, OTHER = {"of": 1}, {"of": 2}
WAIT = 60.0
ROOT = Path(__file__).resolve().parents[3]

HOLDER = """
import sys, time
from pathlib import Path
from runtime.engines.cache import alone, remember
folder, subject = Path(sys.argv[1]), {"of": 1}
with alone(folder, "kind", subject, 0):
    print("inside", flush=True)
    sys.stdin.readline()
    remember(folder, "kind", subject, {"by": "the other"})
"""


@pytest.mark.parametrize("end", ["leaves", "is killed"])
def test_another_process_is_waited_for(tmp_path: Path, end: str) -> None:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "inside\n"
        with alone(tmp_path, "kind", OTHER, WAIT):
            pass  # nobody is in the way of another subject
        with alone(tmp_path, "kind", SUBJECT, 0.3):
            assert recall(tmp_path, "kind", SUBJECT) is None, "it waited longer than it may"
        assert list(tmp_path.rglob("*.lock")), "who did not get the lock removed it"
        if end == "leaves":
            threading.Timer(0.3, holder.communicate, ["\n"]).start()
        else:
            threading.Timer(0.3, holder.kill).start()
        with alone(tmp_path, "kind", SUBJECT, WAIT):
            found = recall(tmp_path, "kind", SUBJECT)
            assert found == ({"by": "the other"} if end == "leaves" else None)
        holder.wait(WAIT)
    assert not list(tmp_path.rglob("*.lock"))


def test_threads_are_inside_one_after_another(tmp_path: Path) -> None:
    inside, most, guard = 0, 0, threading.Lock()

    def enter() -> None:
        nonlocal inside, most
        for _ in range(20):
            with alone(tmp_path, "kind", SUBJECT, WAIT):
                with guard:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.001)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert most == 1


def test_a_folder_that_cannot_be_locked_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "kind").write_text("a file where a folder should be")
    with alone(tmp_path, "kind", SUBJECT, WAIT), alone(tmp_path, "kind", SUBJECT, WAIT):
        remember(tmp_path, "kind", SUBJECT, {})


def test_what_two_load_at_once_is_measured_once(
    artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact: Artifact = read_artifact(artifacts / "tiny-conditional")
    measured: list[int] = []

    def measure(*arguments: Any, **options: Any) -> Any:
        measured.append(1)
        return actual(*arguments, **options)

    actual = choice.measure
    monkeypatch.setattr(choice, "measure", measure)
    setting, request = Setting(1, 1, 16), EngineRequest("auto", "fp32", "cpu")
    started = threading.Barrier(2)
    chosen: list[Any] = []

    def go() -> None:
        started.wait(WAIT)
        found = choose(artifact, request, lambda _: setting, tmp_path)
        found.backend.close()
        chosen.append(found.variant)

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert len(measured) == 1
    assert len(chosen) == 2
    assert chosen[0] == chosen[1]
