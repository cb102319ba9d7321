"""The public face is what __all__ says, is quick to import, and brings nothing heavy along."""

import subprocess
import sys
import types

import runtime
from runtime import errors


def test_all_names_exist_and_nothing_else_is_public() -> None:
    public = {
        name
        for name, value in vars(runtime).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public == set(runtime.__all__)
    assert runtime.__all__ == sorted(runtime.__all__)


def test_every_error_is_in_the_one_tree() -> None:
    raised = [v for v in vars(errors).values() if isinstance(v, type)]
    ours = [v for v in raised if v.__module__ == errors.__name__]
    assert len(ours) == 9
    assert all(issubclass(error, errors.LatentServeError) for error in ours)
    assert errors.__doc__ is not None
    assert all(error.__name__ in errors.__doc__ for error in ours)


def test_importing_brings_no_engine_and_no_framework() -> None:
    heavy = ["torch", "onnx", "onnxruntime", "bentoml", "train", "export", "bento", "scipy"]
    code = f"import runtime, sys; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == "[]"
