"""How a model is run follows from what its graphs cost."""

import pytest

import runtime
import runtime.limits as limits
from runtime import Limits
from runtime.artifact.reading import Artifact, read_artifact, read_head
from runtime.machine import cores
from tests.sized import write_sized


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return read_artifact(write_sized(tmp_path_factory.mktemp("costs")))


def test_quick_images_run_side_by_side(artifact: Artifact) -> None:
    setting = Limits().setting(artifact, "cpu")
    assert (setting.runners, setting.batch) == (min(8, cores()), artifact.manifest.max_batch)


def test_a_slow_image_has_all_cores(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    size = artifact.manifest.default_size
    most = max(b.cost(1, size).multiply_adds for b in artifact.bounds.values())
    monkeypatch.setattr(limits, "_SLOW", most)
    assert Limits().setting(artifact, "cpu").runners == min(8, cores())
    monkeypatch.setattr(limits, "_SLOW", most - 1)
    setting = Limits().setting(artifact, "cpu")
    assert (setting.runners, setting.threads) == (1, cores())
    assert Limits(runners=3).setting(artifact, "cpu").runners == 3


def test_a_share_of_the_cores(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Limits(cores=3).setting(artifact, "cpu")
    assert (setting.runners, setting.threads) == (3, 1)
    monkeypatch.setattr(limits, "_SLOW", 0)
    setting = Limits(cores=3).setting(artifact, "cpu")
    assert (setting.runners, setting.threads) == (1, 3)


def test_a_run_takes_bounded_memory(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    size = artifact.manifest.default_size
    four = max(bounds.cost(4, size).bytes for bounds in artifact.bounds.values())
    monkeypatch.setattr(limits, "RUN_BYTES", four)
    assert Limits().setting(artifact, "cpu").batch == 4
    monkeypatch.setattr(limits, "RUN_BYTES", 1)
    assert Limits().setting(artifact, "cpu").batch == 1
    assert Limits(batch=8).setting(artifact, "cpu").batch == 8


def test_without_graphs_the_machine_decides(artifact: Artifact) -> None:
    head = read_head(artifact.folder)
    assert not head.bounds
    assert Limits().setting(head, "cpu") == Limits().setting(artifact, "cpu")


def test_seconds_follow_the_work(artifact: Artifact) -> None:
    with runtime.load(artifact, backend="onnxruntime", precision="fp32") as model:

        def seconds(count: int, size: tuple[int, int]) -> float:
            return model.seconds(runtime.Sample(count, seed=0, size=size).job(model))

        one = seconds(1, (4, 4))
        assert one > 0
        assert seconds(10, (4, 4)) == pytest.approx(10 * one)
        assert seconds(1, (64, 64)) > 100 * one
