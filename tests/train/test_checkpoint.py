"""Checkpoints: written whole or not at all, and refused when damaged."""

from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from train.checkpoint import Checkpoint, load, pack_optimizer, save, unpack_optimizer
from train.errors import RunError


def checkpoint(step: int) -> Checkpoint:
    tensors = {"a.weight": torch.arange(6.0).reshape(2, 3).t(), "b.weight": torch.ones(())}
    return Checkpoint(step, tensors, {"seconds": 1.5})


def test_round_trip(tmp_path: Path) -> None:
    save(tmp_path, checkpoint(3), keep=2)
    loaded = load(tmp_path)
    assert (loaded.step, loaded.record) == (3, {"seconds": 1.5})
    assert loaded.group("a").keys() == {"weight"}
    assert len({p.stat().st_mode for p in tmp_path.glob("step-00000003/*")}) == 1
    assert torch.equal(loaded.tensors["a.weight"], checkpoint(3).tensors["a.weight"])


def test_the_newest_stay_and_any_of_them_loads(tmp_path: Path) -> None:
    for step in (1, 2, 30):
        save(tmp_path, checkpoint(step), keep=2)
    assert load(tmp_path).step == 30
    assert load(tmp_path, step=2).step == 2
    with pytest.raises(RunError, match="expected a checkpoint, found steps: 00000002, 00000030"):
        load(tmp_path, step=1)


def test_a_saved_step_is_not_written_again(tmp_path: Path) -> None:
    save(tmp_path, checkpoint(1), keep=1)
    save(tmp_path, Checkpoint(1, {"a.weight": torch.zeros(1)}, {}), keep=1)
    assert load(tmp_path).tensors["a.weight"].shape == (3, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


def test_a_full_disk_is_said_in_one_line_and_the_last_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device")

    save(tmp_path, checkpoint(1), keep=1)
    monkeypatch.setattr("train.checkpoint.save_file", full)
    with pytest.raises(RunError, match="step-00000002: expected to write .* No space left"):
        save(tmp_path, checkpoint(2), keep=1)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


def test_none(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="expected a checkpoint, found steps: none"):
        load(tmp_path / "missing")


@pytest.mark.parametrize("file", ["state.json", "state.safetensors"])
def test_a_damaged_file_is_refused(tmp_path: Path, file: str) -> None:
    path = save(tmp_path, checkpoint(1), keep=1) / file
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(RunError, match="expected a complete checkpoint"):
        load(tmp_path)


def test_an_optimizer_goes_on_as_if_never_packed() -> None:
    def optimizer(parameter: torch.Tensor) -> torch.optim.Optimizer:
        return torch.optim.AdamW([parameter], lr=0.1)

    def step(parameter: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        parameter.square().sum().backward()
        optimizer.step()

    kept = torch.ones(3, requires_grad=True)
    first = optimizer(kept)
    step(kept, first)
    copied = kept.detach().clone().requires_grad_()
    second = optimizer(copied)
    packed = {k.removeprefix("o."): v.clone() for k, v in pack_optimizer("o", first).items()}
    unpack_optimizer(packed, second)
    step(kept, first)
    step(copied, second)
    assert torch.equal(kept, copied)
