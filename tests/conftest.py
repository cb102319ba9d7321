"""What a machine measured for its user is neither read nor written by tests; and what is the same
for many tests is made once."""

import gc
import os
import sys
from pathlib import Path

import pytest

from runtime.engines import choice
from runtime.machine import cores
from tests.exporter import keep_tables


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """`--numprocesses auto`: tests wait for other processes and for limits of time, which a third
    worker on two cores fills."""
    return max(1, 3 * cores() // 2)


def pytest_collection_finish() -> None:
    """What was imported stays until the end. To look through it again and again for what nobody
    needs any more takes a seventh of the time of tests that export."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session", autouse=True)
def engine_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of engine choices for all workers, and for the processes that they start: what
    ships is measured once."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "engines"
    folder.mkdir(exist_ok=True)
    patch = pytest.MonkeyPatch()
    patch.setenv("LATENTSERVE_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session", autouse=True)
def brief_measurements() -> None:
    """`load` times every variant for a tenth of a second: here it runs each once a round instead.
    No test depends on which is the faster one; their images are compared as everywhere."""
    choice.SECONDS = 0.0


@pytest.fixture(scope="session", autouse=True)
def torch_operators() -> None:
    """Many tests export graphs in this process."""
    if "torch" in sys.modules:
        keep_tables()
