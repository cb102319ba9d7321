"""The two flavors of TensorRT: importing one, or saying what is missing."""

import ctypes
import importlib
import logging
import warnings
from collections import deque
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

from runtime.engines.nvidia.tensorrt_api import TensorRT, TensorRTForRTX
from runtime.errors import EngineError
from runtime.machine import installed_version, to_install

logger = logging.getLogger(__name__)

Flavor = Literal["tensorrt", "tensorrt-rtx"]
FLAVORS: tuple[Flavor, ...] = ("tensorrt", "tensorrt-rtx")

OLDEST = (10, 13)
"""The first TensorRT whose calls are those of `tensorrt_api`."""

_MODULES: dict[Flavor, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx_bindings"}
_RTX_LIBRARIES = "onnxruntime_ep_nv_tensorrt_rtx"
"""The package on PyPI that holds the libraries; the bindings come alone."""
_INSTALL: dict[Flavor, str] = {
    "tensorrt": (
        f"{to_install('tensorrt')}, for which pip must reach NVIDIA's own package index "
        "(https://docs.nvidia.com/deeplearning/tensorrt)"
    ),
    "tensorrt-rtx": to_install("tensorrt-rtx"),
}


def is_installed(flavor: Flavor) -> bool:
    """Whether the bindings are there, without importing them."""
    return find_spec(_MODULES[flavor]) is not None


@cache
def import_tensorrt(flavor: Flavor) -> TensorRT:
    """The flavor's module; EngineError with the way to install it where it cannot be imported."""
    try:
        if flavor == "tensorrt-rtx":
            _load_rtx_libraries()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # pybind11's, of its own making
            module = importlib.import_module(_MODULES[flavor])
    except (ImportError, OSError) as error:
        raise EngineError(f"{flavor} cannot be imported ({error}): {_INSTALL[flavor]}") from error
    version = tuple(int(part) for part in module.__version__.split(".")[:2])
    if flavor == "tensorrt" and version < OLDEST:
        raise EngineError(
            f"tensorrt {module.__version__} is too old: expected {'.'.join(map(str, OLDEST))} or "
            f"later: {_INSTALL[flavor]}"
        )
    return cast(TensorRT, module)


def rtx_capabilities() -> dict[str, Any]:
    """The compute capabilities that TensorRT for RTX builds for, as `8.9`, and its names of
    them."""
    known = cast(TensorRTForRTX, import_tensorrt("tensorrt-rtx")).ComputeCapability.__members__
    return {f"{sm[2:-1]}.{sm[-1]}": value for sm, value in known.items() if sm.startswith("SM")}


def version(flavor: Flavor) -> str | None:
    """The installed version, without importing anything heavy; None where there is none."""
    names = ("tensorrt-cu13", "tensorrt-cu12", "tensorrt", "tensorrt-cu13-bindings")
    if flavor == "tensorrt-rtx":
        names = ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx")
    return installed_version(*names)


def data_types(library: TensorRT) -> dict[str, Any]:
    """TensorRT's names of an artifact's element types."""
    types = library.DataType
    return {"float32": types.FLOAT, "uint8": types.UINT8, "int64": types.INT64}


@cache
def logger_of(flavor: Flavor) -> tuple[Any, deque[str]]:
    """The flavor's logger, which forwards to ours, and the errors that it reported: failed calls
    only return None. TensorRT knows one logger a process, and keeps hold of it."""
    library = import_tensorrt(flavor)
    said: deque[str] = deque(maxlen=20)
    severity = library.ILogger.Severity
    levels = {
        severity.WARNING: logging.INFO,  # of what the reader of a log cannot change
        severity.INFO: logging.DEBUG,
    }

    class Log(library.ILogger):
        def __init__(self) -> None:
            super().__init__()  # pyright: ignore[reportUnknownMemberType]

        def log(self, severity: Any, message: str) -> None:
            if severity in errors:
                said.append(message)
            elif severity in levels:
                logger.log(levels[severity], "TensorRT: %s", message)

    errors = (severity.INTERNAL_ERROR, severity.ERROR)
    return Log(), said


def _load_rtx_libraries() -> None:
    spec = find_spec(_RTX_LIBRARIES)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"no package {_RTX_LIBRARIES}, which holds its libraries")
    folder = Path(spec.submodule_search_locations[0])
    # The bindings find them by name once they are loaded. Not for all to see: TensorRT proper
    # defines the same symbols.
    for stem in ("libtensorrt_rtx.so", "libtensorrt_onnxparser_rtx.so"):
        found = sorted(folder.glob(f"{stem}*"))
        if not found:
            raise ImportError(f"no {stem} in {folder}")
        ctypes.CDLL(str(found[-1]), mode=ctypes.RTLD_LOCAL)
