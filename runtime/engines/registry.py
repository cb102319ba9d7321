"""The engine libraries, found by name; which of them can run an artifact here; opening one."""

import logging
import pkgutil
from collections.abc import Mapping
from functools import cache as cached
from importlib import import_module
from pathlib import Path
from typing import get_args

import runtime.engines
from runtime.artifact.reading import Artifact
from runtime.artifact.tensors import Precision
from runtime.engines.backend import Backend, Place, Setting, Variant
from runtime.engines.library import EngineLibrary, EngineRequest
from runtime.engines.nvidia import devices
from runtime.errors import EngineError, InputError

logger = logging.getLogger(__name__)


@cached
def engines() -> Mapping[str, EngineLibrary]:
    """Name -> engine library, those of every module of this package that defines `ENGINES`."""
    found: dict[str, EngineLibrary] = {}
    for info in pkgutil.iter_modules(runtime.engines.__path__):
        module = import_module(f"{runtime.engines.__name__}.{info.name}")
        found |= {engine.name: engine for engine in getattr(module, "ENGINES", ())}
    return found


def open_backend(artifact: Artifact, variant: Variant, setting: Setting, cache: Path) -> Backend:
    """Load a verified artifact into a variant's engine; `cache` holds what is built beforehand.

    Raises EngineError where the library is missing, or this machine cannot run the variant.
    """
    return engines()[variant.engine].open(artifact, variant, setting, cache)


def requested(request: EngineRequest) -> list[EngineLibrary]:
    """The engine libraries that a request admits, those for GPUs alone first.

    Raises InputError where backend, precision or device is unknown, or they contradict each other.
    """
    names, precisions = ("auto", *engines()), ("auto", *get_args(Precision))
    places = "auto", *get_args(Place)
    if request.backend not in names:
        raise InputError("backend", f"one of {names}", repr(request.backend))
    if request.precision not in precisions:
        raise InputError("precision", f"one of {precisions}", repr(request.precision))
    if request.device not in places:
        raise InputError("device", f"one of {places}", repr(request.device))
    found = [e for e in engines().values() if request.backend in ("auto", e.name)]
    fitting = [e for e in found if request.device in ("auto", *e.places)]
    if not fitting:
        (place,) = found[0].places
        expected = f"{place!r} or 'auto' with backend {request.backend!r}"
        raise InputError("device", expected, repr(request.device))
    return sorted(fitting, key=lambda engine: "cpu" in engine.places)


def on_gpu(request: EngineRequest) -> bool:
    """Whether to run on a GPU: as requested; by default, if there are a GPU and an engine for it.

    Raises InputError as `requested`, EngineError if a GPU is requested and cannot be used.
    """
    able = [engine for engine in requested(request) if "cuda" in engine.places]
    if request.device == "cpu" or not able:
        return False
    there = devices.gpus()
    if request.device == "auto" and any("cpu" in engine.places for engine in able):
        return bool(there) and any(engine.has_gpu() for engine in able)
    if request.backend != "auto" or not (there and any(engine.has_gpu() for engine in able)):
        try:
            able[-1].require_gpu()
        except EngineError as error:
            raise EngineError(f"{error}" + ("" if there else f"; and {devices.NO_GPU}")) from error
    if not there:
        raise EngineError(
            f"device {request.device!r}, backend {request.backend!r}: {devices.NO_GPU}"
        )
    return True


def candidates(artifact: Artifact, request: EngineRequest, cache: Path) -> list[Variant]:
    """The variants that this machine can run, the reference first among those on the CPU.

    Raises InputError where none has the precision, and as `on_gpu`.
    """
    found = _fitting(artifact, request, cache)
    if not found:
        anything = EngineRequest(request.backend, "auto", request.device)
        there = {variant.precision for variant in _fitting(artifact, anything, cache)}
        expected = f"one that runs here: {('auto', *sorted(there))}"
        raise InputError("precision", expected, repr(request.precision))
    return found


def _fitting(artifact: Artifact, request: EngineRequest, cache: Path) -> list[Variant]:
    libraries = requested(request)
    places: list[Place] = ["cuda"] if on_gpu(request) else []
    if places and artifact.manifest.axes:
        # A lane's buffers have one size.
        if request.device == "cuda" or libraries[0].places == libraries[-1].places == ("cuda",):
            raise EngineError(
                f"{artifact.manifest.name}: graphs with named axes run on the CPU only, expected "
                f"device 'cpu' or 'auto', found {request.device!r}"
            )
        places.clear()
    if request.device != "cuda" and any("cpu" in engine.places for engine in libraries):
        places.append("cpu")
    for place in places:
        found: list[Variant] = []
        missing: list[tuple[str, EngineError]] = []
        for engine in libraries:
            if place in engine.places:
                try:
                    found += engine.candidates(artifact, request, place, cache)
                except EngineError as error:
                    missing.append((engine.name, error))
        if missing and not found and place == places[-1]:
            raise missing[0][1]
        # One engine for GPUs is enough: plans are built for one flavor of TensorRT.
        if missing and not any(engines()[v.engine].places == ("cuda",) for v in found):
            logger.warning("going on without %s: %s", *missing[0])
        if found:
            return found
    return []
