"""Several processes give the run of one."""

import os
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from tests.train.conftest import random_splits, tiny_gan, tiny_vae
from train import checkpoint
from train.errors import RunError
from train.loop import train
from train.processes import Processes, joined
from train.recipes import Recipe
from train.shards import Buffers

BATCH = 12


def sharded(recipe: Recipe, shards: int) -> Recipe:
    return replace(recipe, batch_size=BATCH, shards=shards)


RECIPES = (sharded(tiny_vae(), 2), sharded(tiny_gan(), 2))


def one_of_two(rank: int, folder: Path) -> None:
    """What torchrun starts, over a file instead of a port."""
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "TORCHELASTIC_RUN_ID": "test"}
    torch.set_num_threads(1)
    with joined(f"file://{folder / 'store'}?rank={rank}&world_size=2") as processes:
        for recipe in RECIPES:
            data, out = random_splits(recipe.image), folder / recipe.name
            figures = train(recipe, data, out, device="cpu", processes=processes)
            assert bool(figures) == (processes.leads and recipe.objective.kind == "vae")
        # A stop that one process is told of stops all.
        assert processes.any(rank == 1)
        assert not processes.any(False)
    # The group's threads have ended with it.
    names = [thread.read_text() for thread in Path("/proc/self/task").glob("*/comm")]
    assert not [name for name in names if "gloo" in name]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(run / "checkpoints").tensors


def test_two_processes_equal_one_with_the_same_batch(tmp_path: Path) -> None:
    context = get_context("spawn")
    started = [
        # If one fails, the other waits for it for ever: neither may outlive the test.
        context.Process(target=one_of_two, args=(rank, tmp_path), daemon=True)
        for rank in range(2)
    ]
    for process in started:
        process.start()
    for recipe in RECIPES:
        out = tmp_path / "alone" / recipe.name
        train(recipe, random_splits(recipe.image), out, device="cpu")
    for process in started:
        process.join(120)
        assert process.exitcode == 0
    for recipe in RECIPES:
        together = weights(tmp_path / recipe.name)
        alone = weights(tmp_path / "alone" / recipe.name)
        assert together.keys() == alone.keys()
        for name, tensor in alone.items():
            assert torch.equal(together[name], tensor), name


def test_parts_are_averaged_not_summed(tmp_path: Path) -> None:
    """Without noise of its own a part changes nothing but the order of sums: a VAE's first step is
    that of the whole batch but for its draws, a gradient of the same length."""
    lengths = []
    for shards in (1, 3):
        recipe = replace(sharded(tiny_vae(), shards), steps=1)
        out = tmp_path / str(shards)
        train(recipe, random_splits(recipe.image), out, device="cpu")
        lengths.append(
            float((out / "metrics.jsonl").read_text().split('gradient": ')[1].split(",")[0])
        )
    assert lengths[1] == pytest.approx(lengths[0], rel=0.2)


def test_buffers_move_by_the_mean_of_their_changes() -> None:
    network = torch.nn.BatchNorm1d(1, affine=False, momentum=0.5)
    assert network.running_mean is not None
    buffers = Buffers(network.buffers())
    for values in ([0.0, 2.0], [4.0, 6.0]):
        buffers.rewind()
        network(torch.tensor(values)[:, None])
        buffers.note()
    buffers.settle(2, Processes())
    assert network.running_mean.item() == pytest.approx(0.5 * (1 + 5) / 2)
    assert network.num_batches_tracked == 1


def test_parts_must_be_equal() -> None:
    with pytest.raises(ValidationError, match="divisor of the batch size 12, found 5"):
        sharded(tiny_vae(), 5)


def test_processes_share_the_parts() -> None:
    assert [Processes(rank, 2).share(4) for rank in range(2)] == [range(0, 2), range(2, 4)]
    with pytest.raises(RunError, match="multiple of the 2 processes, found 3"):
        Processes(0, 2).share(3)


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Processes().device("cuda:1") == "cuda:1"
    second = Processes(1, 2)
    assert second.device("cpu") == "cpu"
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert second.device("cuda") == "cuda:1"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert second.device("auto") == "cpu"
    with pytest.raises(RunError, match="expected cuda or cpu for several processes"):
        second.device("cuda:0")


def test_alone_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever other launchers set."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with joined() as processes:
        assert processes == Processes(0, 1)
        assert not processes.any(False)
