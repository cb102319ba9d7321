"""The engine of one image alone: measured once, remembered, and with the right pixels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import runtime
from runtime import EngineError, Limits, loading
from runtime.artifact.reading import Artifact, read_artifact
from runtime.batching import queue
from runtime.engines import solo
from runtime.engines.backend import REFERENCE, Backend, Setting, Variant
from runtime.engines.onnxruntime import OnnxRuntimeBackend
from runtime.engines.registry import open_backend
from runtime.engines.solo import open_solo

FOLDED = Variant("onnxruntime", "fp32", "folded")


@pytest.fixture
def artifact(artifacts: Path) -> Artifact:
    return read_artifact(artifacts / "tiny-conditional")


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """`speeds(one=100, all=200)`: images a second on one core and on all, as if measured. Returns
    the descriptions of what was measured."""

    def speeds(**by_threads: float) -> list[str]:
        measured: list[str] = []

        def speed(artifact: Artifact, backend: Backend, seconds: float) -> float:
            measured.append(backend.description)
            return by_threads["one" if "1 thread a run" in backend.description else "all"]

        monkeypatch.setattr(solo, "speed_of_one", speed)
        return measured

    return speeds


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Images that take no time are worth it, too. Returns the engines of all runs."""
    monkeypatch.setattr(loading, "WORTH_SHARING", 0.0)
    monkeypatch.setattr(queue, "_may_share", lambda job, needs: True)
    ran: list[str] = []
    run = OnnxRuntimeBackend.run

    def noted(self: OnnxRuntimeBackend, *given: object) -> object:
        ran.append(self.description)
        return run(self, *given)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(OnnxRuntimeBackend, "run", noted)
    return ran


def opened(
    artifact: Artifact,
    cache: Path,
    setting: Setting | None = None,
    variant: Variant = REFERENCE,
) -> Backend | None:
    setting = setting or Setting(2, 1, 16)
    shared = open_backend(artifact, variant, setting, cache)
    return open_solo(artifact, variant, shared, lambda place: setting, cache)


def test_where_all_cores_are_faster_they_are_used(
    artifact: Artifact, speeds: Callable[..., list[str]], tmp_path: Path
) -> None:
    measured = speeds(one=100, all=150)
    first = opened(artifact, tmp_path)
    assert first is not None
    assert "fp32, plain graph, 2 threads a run" in first.description
    measured.clear()
    again = opened(artifact, tmp_path)
    assert again is not None
    assert (again.description, measured) == (first.description, [])
    # Another way to run it is another question.
    assert opened(artifact, tmp_path, variant=FOLDED) is not None
    assert measured


def test_where_they_gain_little_there_is_no_second_engine(
    artifact: Artifact, speeds: Callable[..., list[str]], tmp_path: Path
) -> None:
    measured = speeds(one=100, all=115)
    assert opened(artifact, tmp_path) is None
    assert measured
    measured.clear()
    assert opened(artifact, tmp_path) is None
    assert not measured


def test_an_image_that_takes_no_time_needs_no_second_engine(
    artifact: Artifact, speeds: Callable[..., list[str]], tmp_path: Path
) -> None:
    speeds(one=1001, all=9000)
    assert opened(artifact, tmp_path) is None


def test_a_run_that_has_all_cores_needs_no_other(artifact: Artifact, tmp_path: Path) -> None:
    assert opened(artifact, tmp_path, Setting(1, 2, 16)) is None
    assert opened(artifact, tmp_path, Setting(1, 1, 16)) is None


def test_a_model_gives_the_same_image_alone(
    artifacts: Path, speeds: Callable[..., list[str]], alone: list[str], tmp_path: Path
) -> None:
    speeds(one=100, all=200)
    given = {"backend": REFERENCE, "cache": tmp_path, "limits": Limits(runners=2, threads=1)}
    with runtime.load(artifacts / "tiny-conditional", **given) as model:
        assert "; one image alone: onnxruntime" in model.engine
        alone.clear()
        # The one first: a runner that has just given its result counts as busy for a moment.
        one, many = model.sample(1, seed=3), model.sample(8, seed=3)
    assert "2 threads" in alone[0]
    assert all("1 thread " in engine for engine in alone[1:])
    assert np.abs(many[:1].astype(int) - one).max() <= 1
    with runtime.load(artifacts / "tiny-conditional", **given, solo=False) as model:
        assert "alone" not in model.engine


def test_without_it_a_model_works_as_well(
    artifacts: Path,
    speeds: Callable[..., list[str]],
    alone: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """What is only faster stops nothing: neither where it has wrong pixels nor where it fails."""
    speeds(one=100, all=200)

    def wrong(*given: object) -> None:
        raise EngineError("wrong pixels")

    monkeypatch.setattr(solo, "check_golden", wrong)
    given = {"backend": REFERENCE, "cache": tmp_path, "limits": Limits(runners=2, threads=1)}
    with runtime.load(artifacts / "tiny-conditional", **given) as model:
        assert model.sample(1, seed=3).shape[0] == 1
        assert "alone" not in model.engine
