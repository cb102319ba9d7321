"""Each scenario for seconds, on tiny artifacts: what happens, not how fast."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.speed.servers import Running, ours, running
from bento.repository.models import Models
from bento.settings import Settings
from tests.bento.support import FP32
from tests.reliability import scenarios
from tests.reliability.load import Expected
from tests.tiny import write_artifact

SETTINGS = {**FP32, "LATENTSERVE_REQUEST_LOG": "true"}

# They start processes and load the machine: one after the other.
pytestmark = pytest.mark.xdist_group("reliability")


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    for kind in ("plain", "conditional", "vae"):
        write_artifact(folder, kind)  # pyright: ignore[reportArgumentType]
    return folder


@pytest.fixture(scope="module")
def expected(artifacts: Path) -> Expected:
    models = Models(Settings(artifacts=artifacts, precision="fp32"))
    models.load()
    made = Expected(models)
    models.close()
    return made


@pytest.fixture
def server(artifacts: Path) -> Iterator[Running]:
    with running(ours(artifacts, SETTINGS)) as started:
        yield started


def test_correctness_and_soak(server: Running, expected: Expected) -> None:
    assert scenarios.correctness(server, expected, 40, 4)["wrong or swapped replies"] == 0
    scenarios.soak(server, expected, 8, 6, periods=3)
    assert scenarios.listening_elsewhere(server) == []


def test_termination(server: Running, expected: Expected) -> None:
    assert (
        scenarios.termination(server, expected, 16, 3, "tiny-plain", 400_000)["incomplete replies"]
        == 0
    )


def test_killing(server: Running) -> None:
    scenarios.killing(server, 1, within=60.0)
