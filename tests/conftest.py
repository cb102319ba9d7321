"""What a machine measured for its user is neither read nor written by tests; and what torch's
exporter would make anew for every graph is made once."""

import gc
import os
import sys
from contextlib import suppress
from copy import copy
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from runtime.engines import choice
from runtime.machine import cores


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
    """For every graph, torch's exporter parses the source of its 500 operators, infers their
    signatures, and asks thirty times for the operators made of others: more than half of the time
    that a small graph takes. Here this is done once (the last again where there are new)."""
    if "torch" not in sys.modules:  # then nothing here exports in this process
        return
    # torch's own affair: in other versions it may be elsewhere, and is then made for each graph.
    with suppress(ImportError, AttributeError):
        library: Any = import_module("torch.onnx._internal._lazy_import").onnxscript_apis
        load = library.__getattr__
        library.get_torchlib_ops = cache(lambda: load("get_torchlib_ops")())
    with suppress(ImportError, AttributeError):
        registry: Any = import_module("torch.onnx._internal.exporter._registration").ONNXRegistry
        made = cache(registry.from_torchlib)

        def copied(**opset: int) -> Any:  # a graph's own operators are added to it
            fresh = copy(made(**opset))
            fresh.functions = {name: [*each] for name, each in fresh.functions.items()}
            return fresh

        registry.from_torchlib = staticmethod(copied)
    with suppress(ImportError, AttributeError):
        utilities: Any = import_module("torch._export.utils")
        names: Any = import_module("torch")._C._dispatch_get_registrations_for_dispatch_key
        look_up = cache(lambda count: look_up_all())
        look_up_all = utilities._materialize_cpp_cia_ops
        utilities._materialize_cpp_cia_ops = lambda: look_up(
            len(names("CompositeImplicitAutograd"))
        )
    with suppress(ImportError, AttributeError):
        decompositions: Any = import_module("torch.onnx._internal.exporter._decomp")
        make = decompositions.create_onnx_friendly_decomposition_table
        table = cache(lambda operators: make(operators))
        decompositions.create_onnx_friendly_decomposition_table = lambda operators: dict(
            table(frozenset(operators))
        )
