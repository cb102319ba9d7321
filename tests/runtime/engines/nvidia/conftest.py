"""A machine with fake GPUs and a fake TensorRT (`fakes`)."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import runtime.engines.nvidia.cuda
import runtime.engines.nvidia.tensorrt
from runtime.engines.nvidia import devices
from tests.runtime.engines.nvidia.fakes import (
    FakeCuda,
    FakeDriver,
    FakeSession,
    FakeTensorRT,
    fake_gpu,
)
from tests.runtime.engines.nvidia.kernels import Kernel, compile_kernel


@pytest.fixture(scope="session")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    """The kernel that draws latents, compiled for the CPU."""
    return compile_kernel(tmp_path_factory.mktemp("kernel"))


@pytest.fixture
def cuda(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    """One GPU; nothing of it may be held at the end."""
    fake = FakeCuda()
    modules = {"runtime": fake, "driver": FakeDriver(fake, kernel)}
    monkeypatch.setattr(runtime.engines.nvidia.cuda, "import_cuda", modules.__getitem__)
    monkeypatch.setattr(devices, "gpus", lambda: (fake_gpu(),))
    yield fake
    assert not fake.contexts
    assert not fake.blocks
    assert not fake.streams
    assert not fake.graphs


@pytest.fixture
def onnxruntime_cuda(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> list[FakeSession]:
    """The sessions that are opened on the CUDA provider."""
    import onnxruntime

    from runtime.engines import onnxruntime as on_cpu
    from runtime.engines import onnxruntime_cuda

    sessions: list[FakeSession] = []

    def opened(_: object, data: bytes, file: str, provider: tuple, *, threads: int) -> FakeSession:
        assert provider[0] == "CUDAExecutionProvider"
        sessions.append(FakeSession(cuda, data, provider[1]))
        return sessions[-1]

    monkeypatch.setattr(on_cpu, "has_cuda", lambda: True)
    monkeypatch.setattr(onnxruntime_cuda, "open_session", opened)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    return sessions


@pytest.fixture
def tensorrt(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorRT]:
    fake = FakeTensorRT(cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    monkeypatch.setattr(
        runtime.engines.nvidia.tensorrt, "is_installed", lambda flavor: flavor == "tensorrt"
    )
    for cached in (
        runtime.engines.nvidia.tensorrt.import_tensorrt,
        runtime.engines.nvidia.tensorrt.logger_of,
    ):
        cached.cache_clear()
    yield fake
    for cached in (
        runtime.engines.nvidia.tensorrt.import_tensorrt,
        runtime.engines.nvidia.tensorrt.logger_of,
    ):
        cached.cache_clear()


@pytest.fixture
def build(tensorrt: FakeTensorRT, tmp_path: Path) -> Callable[..., list[str | None]]:
    """`build(folder, batches=(1, 4))` fills the cache `tmp_path`; the errors of what was not
    kept."""
    from export.engine import build_engines, parse_buckets
    from export.plan import EngineOptions
    from runtime.artifact.reading import read_artifact

    def build(folder: Path, batches: tuple[int, ...] = (1, 4, 16), **options: object) -> list:
        asked = {"precision": "fp32", "buckets": parse_buckets(batches, None), **options}
        made = build_engines(read_artifact(folder), EngineOptions(**asked), tmp_path)  # pyright: ignore
        return [built.error for built in made if built.error]

    return build
