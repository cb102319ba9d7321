"""One folder of tiny artifacts, one set of loaded models, and one real BentoML server a session."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.speed.servers import Running, ours, running
from bento.repository.models import Models
from bento.settings import Settings
from tests.bento.support import FP32, Ask, ask_async
from tests.tiny import write_artifact


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny-conditional, tiny-plain (in two versions), tiny-vae, and one that is damaged."""
    folder = tmp_path_factory.mktemp("artifacts")
    write_artifact(folder, "plain", version=1, seed=99)
    write_artifact(folder, "plain", version=2)
    write_artifact(folder, "conditional")
    write_artifact(folder, "vae")
    damaged = write_artifact(folder, "plain", name="damaged") / "decode.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    return folder


@pytest.fixture(scope="session")
def models(artifacts: Path) -> Iterator[Models]:
    loaded = Models(Settings(artifacts=artifacts, precision="fp32", load_seconds=0))
    loaded.load()
    yield loaded
    loaded.close()


@pytest.fixture(scope="session")
def ask(models: Models) -> Ask:
    """`ask(method, path, settings={...}, **httpx arguments)`: one request to the app itself."""

    def ask(
        method: str, path: str, *, settings: dict[str, Any] | None = None, **request: Any
    ) -> httpx.Response:
        return asyncio.run(ask_async(models, method, path, settings=settings, **request))

    return ask


@pytest.fixture(scope="session")
def server(artifacts: Path) -> Iterator[Running]:
    with running(ours(artifacts, FP32)) as started:
        yield started
