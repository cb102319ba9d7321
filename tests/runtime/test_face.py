"""The public face is what __all__ says, is quick to import, and brings nothing heavy along."""

import copy
import json
import pickle
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import runtime
from runtime import errors


def test_all_names_exist_and_nothing_else_is_public() -> None:
    assert runtime.__all__ == sorted(runtime.__all__)
    for name in runtime.__all__:
        assert getattr(runtime, name).__name__ == name
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = runtime.no_such_name
    imported = {"Any", "TYPE_CHECKING", "import_module"}
    public = {
        name
        for name, value in vars(runtime).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public - imported == set(runtime.__all__)


def test_names_for_the_checker_and_at_run_time_agree() -> None:
    source = Path(str(runtime.__file__)).read_text("utf-8")
    (block,) = re.findall(r"if TYPE_CHECKING:\n(.*?)\n\n_MODULES", source, re.DOTALL)
    names = re.findall(r"(\w+) as (\w+)", block)
    assert all(name == alias for name, alias in names)
    assert sorted(name for name, _ in names) == runtime.__all__


def test_importing_pixels_loads_no_more_of_the_runtime() -> None:
    code = (
        "import json, sys, runtime.images; "
        "print(json.dumps(sorted(m for m in sys.modules if m.split('.')[0] == 'runtime')))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = json.loads(found.stdout)
    assert "runtime.images.pixels" in loaded
    assert [name for name in loaded if not name.startswith("runtime.images.")] == [
        "runtime",
        "runtime.defaults",
        "runtime.errors",
        "runtime.images",
    ]


def test_every_error_is_in_the_one_tree() -> None:
    raised = [v for v in vars(errors).values() if isinstance(v, type)]
    ours = [v for v in raised if v.__module__ == errors.__name__]
    assert len(ours) == 11
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


@pytest.mark.parametrize(
    "error",
    [
        errors.ArtifactError(Path("a"), "is damaged"),
        errors.InputError("n", "a number", "none"),
        errors.NotFiniteError("images[2]", "numbers", "NaN"),
        errors.StorageError("images", "a URL that can be reached", "s3://a"),
        errors.OverloadedError(5, 4, "bytes"),
        errors.ServiceError("no", 400, "n", "a number", "none"),
        errors.EngineError("onnxruntime is missing"),
    ],
)
def test_errors_come_through_from_another_process(error: errors.LatentServeError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 - our own
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)
