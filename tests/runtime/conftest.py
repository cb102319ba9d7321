from collections.abc import Iterator
from pathlib import Path

import pytest

import runtime
from tests.tiny import write_artifact


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three kinds of tiny artifacts; read-only by agreement."""
    folder = tmp_path_factory.mktemp("artifacts")
    for kind in ("plain", "conditional", "vae"):
        write_artifact(folder, kind)
    return folder


@pytest.fixture(scope="module")
def plain(artifacts: Path) -> Iterator[runtime.Model]:
    with runtime.load(artifacts / "tiny-plain", precision="fp32") as model:
        yield model


@pytest.fixture(scope="module")
def conditional(artifacts: Path) -> Iterator[runtime.Model]:
    with runtime.load(artifacts / "tiny-conditional", precision="fp32") as model:
        yield model


@pytest.fixture(scope="module")
def vae(artifacts: Path) -> Iterator[runtime.Model]:
    with runtime.load(artifacts / "tiny-vae", precision="fp32") as model:
        yield model
