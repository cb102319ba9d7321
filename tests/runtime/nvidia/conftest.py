"""A machine with fake GPUs and a fake TensorRT (`fakes`)."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import runtime.nvidia.cuda
import runtime.nvidia.tensorrt
from runtime.nvidia import devices
from tests.runtime.nvidia.fakes import FakeCuda, FakeDriver, FakeTensorRT, fake_gpu
from tests.runtime.nvidia.kernels import Kernel, compile_kernel


@pytest.fixture(scope="session")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    """The kernel that draws latents, compiled for the CPU."""
    return compile_kernel(tmp_path_factory.mktemp("kernel"))


@pytest.fixture
def cuda(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    """One GPU; nothing of it may be held at the end."""
    fake = FakeCuda()
    modules = {"runtime": fake, "driver": FakeDriver(fake, kernel)}
    monkeypatch.setattr(runtime.nvidia.cuda, "import_cuda", modules.__getitem__)
    monkeypatch.setattr(devices, "gpus", lambda: (fake_gpu(),))
    yield fake
    assert not fake.blocks
    assert not fake.streams
    assert not fake.graphs


@pytest.fixture
def tensorrt(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorRT]:
    fake = FakeTensorRT(cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    monkeypatch.setattr(
        runtime.nvidia.tensorrt, "is_installed", lambda flavor: flavor == "tensorrt"
    )
    runtime.nvidia.tensorrt.import_tensorrt.cache_clear()
    yield fake
    runtime.nvidia.tensorrt.import_tensorrt.cache_clear()


@pytest.fixture
def build(tensorrt: FakeTensorRT, tmp_path: Path) -> Callable[..., list[str | None]]:
    """`build(folder, batches=(1, 4))` fills the cache `tmp_path`; the errors of what was not
    kept."""
    from export.engine import build_engines, parse_buckets
    from export.plan import EngineOptions
    from runtime.artifact import read_artifact

    def build(folder: Path, batches: tuple[int, ...] = (1, 4, 16), **options: object) -> list:
        asked = {"precision": "fp32", "buckets": parse_buckets(batches, None), **options}
        made = build_engines(read_artifact(folder), EngineOptions(**asked), tmp_path)  # pyright: ignore
        return [built.error for built in made if built.error]

    return build
