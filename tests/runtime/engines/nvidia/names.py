"""Do NVIDIA's libraries have the names that we call? Asked of the real bindings, without a GPU.

`python -m tests.runtime.engines.nvidia.names FOLDER` asks the bindings in a folder, an unpacked
wheel of `tensorrt-cu13-bindings` of any version; the tests ask those that are installed. Importing
them takes TensorRT's libraries, which are not on PyPI: empty ones with the few functions that they
look for will do for asking, not for running anything.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from runtime.engines.nvidia import tensorrt_api

_FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
_LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")

ENUMERATIONS = {
    "BuilderFlag": ("TF32", "VERSION_COMPATIBLE"),
    "DataType": ("FLOAT", "UINT8", "INT64"),
    "ExecutionContextAllocationStrategy": ("USER_MANAGED",),
    "ILogger": ("Severity", "log"),
    "IProgressMonitor": ("phase_start", "step_complete", "phase_finish"),
    "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
    "TensorIOMode": ("INPUT", "OUTPUT"),
}
"""What is used of the classes that `tensorrt_api` leaves open."""

_DUMP = (
    "import json, importlib, sys; module = importlib.import_module(sys.argv[1]); "
    "print(json.dumps({'__version__': module.__version__, **{name: dir(value) "
    "for name, value in vars(module).items() if isinstance(value, type)}}))"
)


def described(*, rtx: bool) -> dict[str, set[str]]:
    """Class -> the names that `runtime.engines.nvidia.tensorrt_api` says it has."""
    found: dict[str, set[str]] = {name: set(members) for name, members in ENUMERATIONS.items()}
    if rtx:
        found["DynamicShapesKernelSpecializationStrategy"] = {"EAGER"}
    for name, protocol in vars(tensorrt_api).items():
        if not getattr(protocol, "_is_protocol", False) or name in ("Protocol", "Severity"):
            continue
        if name == "IRuntimeConfig" and not rtx:
            continue
        members = {m for m in (*vars(protocol), *protocol.__annotations__) if m[0] != "_"}
        if name in ("TensorRT", "TensorRTForRTX"):
            for member in members if rtx or name == "TensorRT" else ():
                found.setdefault(member, set())
        elif not name.startswith("IRtx"):
            found.setdefault(name, set()).update(members)
        elif rtx:
            found.setdefault(name.replace("IRtx", "I"), set()).update(members)
    return found


def missing(real: dict[str, Any], *, rtx: bool = False) -> list[str]:
    """What is described and not there: `Class`, or `Class.name`."""
    absent: list[str] = []
    for name, members in described(rtx=rtx).items():
        if name not in real:
            absent.append(name)
        else:
            absent += [f"{name}.{member}" for member in sorted(members - set(real[name]))]
    return absent


def tensorrt_names(folder: Path) -> dict[str, Any]:
    """Every class of the TensorRT bindings under a folder, with its members."""
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "empty.c"
        source.write_text("".join(f"void *{f}(void) {{ return 0; }}\n" for f in _FUNCTIONS))
        for major in (10, 11):
            for library in _LIBRARIES:
                name = f"lib{library}.so.{major}"
                command = [compiler(), "-shared", "-fPIC", str(source), f"-Wl,-soname,{name}"]
                subprocess.run([*command, "-o", str(Path(temporary) / name)], check=True)
        environment = {**os.environ, "LD_LIBRARY_PATH": temporary, "PYTHONPATH": str(folder)}
        return _dump("tensorrt_bindings", environment)


def _dump(module: str, environment: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _DUMP, module],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return json.loads(done.stdout)


def compiler() -> str:
    """The C compiler's path, or nothing."""
    return shutil.which("cc") or shutil.which("gcc") or ""


def main() -> int:
    real = tensorrt_names(Path(sys.argv[1]).resolve())
    absent = missing(real)
    print(f"tensorrt {real['__version__']}: {', '.join(absent) or 'has every name'}")
    return 1 if absent else 0


if __name__ == "__main__":
    sys.exit(main())
