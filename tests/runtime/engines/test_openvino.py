"""OpenVINO in a process that has other things to do."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import write_artifact

SIGNALLED = """
import os, signal, sys, threading
import runtime

signal.signal(signal.SIGUSR1, lambda *_: print("handled", flush=True))
for _ in range(2):
    model = runtime.load(sys.argv[1], backend="openvino")
    model.sample(3, seed=1)
    closing = threading.Thread(target=model.close)
    closing.start()
    closing.join()
    del model, closing
    os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_signals_are_handled_once_a_model_was_closed_by_another_thread(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    artifact = write_artifact(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, artifact],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "handled\n" * 2), done.stderr
