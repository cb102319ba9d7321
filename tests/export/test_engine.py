"""Real engines of every shipped artifact: TensorRT for RTX builds them without a GPU."""

import hashlib
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from export.engine import build_engines, parse_buckets
from export.plan import EngineOptions, build_plan
from runtime.artifact.reading import artifact_folders, read_artifact
from runtime.artifact.tensors import Precision
from runtime.engines.backend import graph_specs
from runtime.engines.nvidia import devices
from runtime.engines.nvidia.plans import Bucket, PlanKey, find
from runtime.engines.nvidia.tensorrt import (
    import_tensorrt,
    is_installed,
    logger_of,
    rtx_capabilities,
)
from runtime.errors import EngineError

pytestmark = pytest.mark.skipif(
    not is_installed("tensorrt-rtx"), reason="needs latentserve[tensorrt-rtx]"
)

SHIPPED = [folder.name for folder in artifact_folders(Path("artifacts"))]
MALFORMED = 32


def options(precision: Precision = "fp16", **changes: object) -> EngineOptions:
    buckets = parse_buckets((1, 64), None)
    asked = {"flavor": "tensorrt-rtx", "capability": (8, 9), "buckets": buckets, **changes}
    return EngineOptions(precision=precision, **asked)  # pyright: ignore


def is_engine(data: bytes) -> bool:
    """Whether TensorRT takes these bytes for one of its engines. More it cannot say here: an engine
    is only opened on a GPU."""
    library = import_tensorrt("tensorrt-rtx")
    opened = library.Runtime(logger_of("tensorrt-rtx")[0])
    _, diagnostics = opened.get_engine_validity(data)  # pyright: ignore
    return not int(diagnostics) & MALFORMED


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_artifacts_become_engines(name: str, precision: Precision, tmp_path: Path) -> None:
    artifact = read_artifact(Path("artifacts") / name)
    manifest = artifact.manifest
    specs = graph_specs(manifest, precision)
    if specs[manifest.main_graph].precision != precision:
        pytest.skip(f"the artifact has no {precision} variant")
    built = list(build_engines(artifact, options(precision), tmp_path))
    assert [b.error for b in built] == [None] * len(built)
    assert len(built) == 2 * len(manifest.graphs)
    version = import_tensorrt("tensorrt-rtx").__version__
    for spec in specs.values():
        onnx = hashlib.sha256(artifact.files[spec.file]).hexdigest()
        plans = find(tmp_path, onnx, "tensorrt-rtx", spec.precision, version, (8, 9))
        assert [plan.key.bucket for plan in plans] == [Bucket.of(1), Bucket.of(64)]
        for plan in plans:
            assert plan.verified is None  # no GPU has run it
            assert is_engine(plan.data)
            for tensor in (*spec.inputs, *spec.outputs):
                assert tensor.name.encode() in plan.data
    assert not is_engine(b"not an engine" * 100)


def test_one_engine_for_a_range(tmp_path: Path) -> None:
    artifact = read_artifact(Path("artifacts") / SHIPPED[0])
    asked = options(buckets=parse_buckets((), (1, 16, 64)))
    (built,) = (b for b in build_engines(artifact, asked, tmp_path) if b.graph == "decode")
    assert built.error is None
    assert built.path is not None
    assert built.path.name.endswith("-sm89-fp16-b1-16-64.plan")


@pytest.mark.parametrize("capability", ["8.0", "8.6", "12.0"])
def test_other_gpus(capability: str, tmp_path: Path) -> None:
    artifact = read_artifact(Path("artifacts/mnist-vae-2d"))
    major, minor = (int(part) for part in capability.split("."))
    asked = options(capability=(major, minor), buckets=parse_buckets((4,), None))
    assert capability in rtx_capabilities()
    assert [b.error for b in build_engines(artifact, asked, tmp_path)] == [None, None]


def test_what_a_gpu_lacks_is_reported_in_the_builders_words(tmp_path: Path) -> None:
    artifact = read_artifact(Path("artifacts/mnist-vae-2d"))
    asked = options(capability=(7, 5), buckets=parse_buckets((4,), None))
    decode, encode = build_engines(artifact, asked, tmp_path)
    assert decode.error is None
    assert "FP32 GEMM is not supported" in str(encode.error)


def test_progress_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    artifact = read_artifact(Path("artifacts/mnist-vae-2d"))
    asked = options(buckets=parse_buckets((4,), None))
    list(build_engines(artifact, asked, tmp_path, progress=True))
    assert "decode.fp16.onnx at 4" in capfd.readouterr().err


def unknown_operator() -> bytes:
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Nothing", ["latents"], ["images"])],
        "unknown",
        [value("latents", onnx.TensorProto.FLOAT, ["batch", 4])],
        [value("images", onnx.TensorProto.UINT8, ["batch", 8, 8, 1])],
    )
    return onnx.helper.make_model(graph).SerializeToString()


def test_what_cannot_be_built_says_why(tmp_path: Path) -> None:
    artifact = read_artifact(Path("artifacts/mnist-vae"))
    with pytest.raises(EngineError, match=r"expected a compute capability .*8\.9.* found 9\.0"):
        list(build_engines(artifact, options(capability=(9, 0)), tmp_path))
    with pytest.raises(EngineError, match="precision: expected one that mnist-vae has .* because"):
        list(build_engines(artifact, options("bf16"), tmp_path))
    spec = artifact.manifest.graphs["decode"].spec()
    version = import_tensorrt("tensorrt-rtx").__version__
    key = PlanKey("0" * 64, "tensorrt-rtx", version, "8.9", "fp32", Bucket.of(1))
    with pytest.raises(EngineError, match=r"tensorrt-rtx .* cannot parse decode\.onnx"):
        build_plan(unknown_operator(), spec, key, tmp_path)
    other = replace(artifact.manifest.graphs["encode"].spec(), file="decode.onnx")
    with pytest.raises(EngineError, match=r"decode\.onnx: expected inputs .* the parser made"):
        build_plan(artifact.files["decode.onnx"], other, key, tmp_path)


@pytest.mark.skipif(bool(devices.gpus()), reason="a GPU is here")
def test_tensorrt_builds_where_its_gpu_is(tmp_path: Path) -> None:
    artifact = read_artifact(Path("artifacts/mnist-vae"))
    with pytest.raises(EngineError, match=r"--capability names one"):
        list(build_engines(artifact, options(capability=None), tmp_path))
    with pytest.raises(EngineError, match=r"tensorrt .*'\.\[tensorrt\]'"):
        list(build_engines(artifact, options(flavor="tensorrt"), tmp_path))
