"""How long until the service is ready, what it then holds, and what importing the library costs.

From the start of the process to the first 200 of /readyz, every artifact of a folder loaded and
its golden images reproduced; an import is a fresh interpreter less an empty one. Medians.
"""

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks.report import table, write_json

LIMIT = 60.0  # seconds until a start counts as failed


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks startup", description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"))
    parser.add_argument("--python", default=sys.executable, help="of the serving environment")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)

    # The first start fills the file cache; it is measured and told apart from the others.
    starts = [start(options.python, options.artifacts) for _ in range(options.repeats + 1)]
    empty = [seconds(options.python, "pass") for _ in range(options.repeats)]
    imports = [seconds(options.python, "import runtime") for _ in range(options.repeats)]
    figures = {
        "ready_first_seconds": starts[0][0],
        "ready_seconds": statistics.median(ready for ready, _ in starts[1:]),
        "resident_megabytes": statistics.median(memory for _, memory in starts),
        "import_runtime_seconds": statistics.median(imports) - statistics.median(empty),
    }
    print(table(("measure", "value"), list(figures.items())))
    write_json(options.json, "startup", figures, {"artifacts": str(options.artifacts)})


def start(python: str, artifacts: Path) -> tuple[float, float]:
    """Start the service and stop it: seconds until ready, resident megabytes then."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [python, "-m", "bentoml", "serve", "bento.service:LatentServe"]
    environment = {
        **os.environ,
        "LATENTSERVE_ARTIFACTS": str(artifacts.resolve()),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    began = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 - our own service
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not _is_ready(port):
            if process.poll() is not None:
                raise RuntimeError(f"the service ended with status {process.returncode}")
            if time.perf_counter() - began > LIMIT:
                raise RuntimeError(f"the service was not ready within {LIMIT:.0f} s")
            time.sleep(0.01)
        return time.perf_counter() - began, _resident_megabytes(process.pid)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(LIMIT)


def seconds(python: str, code: str) -> float:
    """A fresh interpreter from start to end."""
    began = time.perf_counter()
    subprocess.run([python, "-c", code], check=True)  # noqa: S603 - our own code
    return time.perf_counter() - began


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _resident_megabytes(process: int) -> float:
    """Resident memory of a process and all its descendants."""
    root = psutil.Process(process)
    return sum(p.memory_info().rss for p in (root, *root.children(recursive=True))) / 1e6
