"""Seconds from process start to ready, memory then, and the cost of importing the library.

From the start of the process to the first 200 of /readyz, every artifact of a folder loaded and
its golden images reproduced. The very first start on a machine also measures which engine is the
fastest: that one is given an empty cache ($LATENTSERVE_CACHE), the others share a filled one. An
import is a fresh interpreter less an empty one; of `runtime` by its `load`, as names are loaded
when first used. Medians.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.figures import Bar, Figure, most
from benchmarks.speed import servers
from benchmarks.speed.publishing import parser, publish
from runtime.engines.cache import CACHE_VARIABLE
from runtime.machine import cores

BARS: dict[str, Bar] = {
    "start to ready, seconds": most(2.5),
    "start to ready, cold cache, seconds": most(10.0),
    "resident memory when ready, megabytes": most(400.0),
}
"""Figure -> what its value may be."""


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks startup`"""
    options = parser("startup", __doc__)
    options.add_argument("--artifacts", type=Path, default=servers.ROOT / "artifacts")
    options.add_argument("--python", default=sys.executable, help="of the serving environment")
    options.add_argument("--repeats", type=int, help="starts of a kind (default 5; 1 with --quick)")
    chosen = options.parse_args(arguments)
    repeats = chosen.repeats or (1 if chosen.quick else 5)
    python = chosen.python

    with tempfile.TemporaryDirectory(prefix="latentserve-cache-") as folder:
        caches = [Path(folder) / str(number) for number in range(repeats)]
        cold = [start(python, chosen.artifacts, cache) for cache in caches]
        warm = [start(python, chosen.artifacts, caches[0]) for _ in range(repeats)]
    empty = [seconds(python, "pass") for _ in range(repeats)]
    imports = [seconds(python, "from runtime import load") for _ in range(repeats)]
    found = {
        "start to ready, seconds": [ready for ready, _ in warm],
        "start to ready, cold cache, seconds": [ready for ready, _ in cold],
        "resident memory when ready, megabytes": [memory for _, memory in warm],
        "import runtime, seconds": [
            one - nothing for one, nothing in zip(imports, empty, strict=True)
        ],
    }
    figures = [_figure(name, values) for name, values in found.items()]
    subject = {"artifacts": chosen.artifacts.name, "repeats": repeats, "cores": cores()}
    publish(chosen, "startup", "Starting the service", figures, subject)


def _figure(name: str, values: list[float]) -> Figure:
    subject, _, unit = name.rpartition(", ")
    return Figure(subject, unit, median(values), unit, bar=BARS.get(name), rounds=values)


def start(python: str, artifacts: Path, cache: Path) -> tuple[float, float]:
    """Start the service and stop it: seconds until ready, resident megabytes then."""
    server = servers.ours(artifacts, {CACHE_VARIABLE: str(cache)}, python)
    with servers.running(server) as started:
        return started.ready_seconds, started.resident_megabytes()


def seconds(python: str, code: str) -> float:
    """A fresh interpreter from start to end."""
    began = time.perf_counter()
    subprocess.run([python, "-c", code], check=True, cwd=servers.ROOT)  # noqa: S603 - our own code
    return time.perf_counter() - began
