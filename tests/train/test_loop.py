"""The training loop: exact resumption, what a run leaves behind, divergence."""

import json
import math
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from runtime.images import ImageSpec
from tests.train.conftest import deliver, random_splits, tiny_gan, tiny_vae
from train import checkpoint, loop
from train.data import Dataset, Splits
from train.errors import DataError, DivergedError, RunError
from train.loop import train
from train.recipes import RECIPE_JSON, Recipe
from train.training import Training


def run(recipe: Recipe, out: Path, **options) -> dict[str, float]:
    return train(recipe, random_splits(recipe.image), out, device="cpu", **options)


def state(out: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(out / "checkpoints").tensors


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_stopped_and_resumed_equals_never_stopped(
    recipe: Recipe, precision: str, tmp_path: Path
) -> None:
    recipe = replace(recipe, precision=precision)
    whole = run(recipe, tmp_path / "whole")
    run(recipe, tmp_path / "parts", until=3)
    assert checkpoint.load(tmp_path / "parts" / "checkpoints").step == 3
    torch.manual_seed(12345)  # whatever the process drew in between
    parts = run(recipe, tmp_path / "parts", resume=True)
    expected, found = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert whole == parts
    logs = [
        [{k: v for k, v in json.loads(line).items() if k != "images_per_second"} for line in lines]
        for lines in (
            (tmp_path / part / "metrics.jsonl").read_text().splitlines()
            for part in ("whole", "parts")
        )
    ]
    assert logs[0] == logs[1]


def test_steps_logged_after_the_checkpoint_are_forgotten(tmp_path: Path) -> None:
    run(tiny_vae(), tmp_path, until=4)
    with (tmp_path / "metrics.jsonl").open("a") as log:
        log.write('{"step": 5, "elbo/loss": 1.0}\n{"step": 6, "elb')  # killed while writing
    run(tiny_vae(), tmp_path, resume=True)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_training_leaves_the_caller_s_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    run(tiny_vae(), tmp_path, until=1)
    assert torch.rand(1) == expected


def test_seeds_differ(tmp_path: Path) -> None:
    run(tiny_vae(), tmp_path / "0")
    run(replace(tiny_vae(), seed=1), tmp_path / "1")
    first, second = state(tmp_path / "0"), state(tmp_path / "1")
    assert not torch.equal(
        first["model.decoder.layers.0.weight"], second["model.decoder.layers.0.weight"]
    )


def test_what_a_run_leaves_behind(recipe: Recipe, tmp_path: Path) -> None:
    metrics = run(recipe, tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    assert RECIPE_JSON.validate_python(record["recipe"]) == recipe
    assert record["provenance"]["metrics"] == metrics
    assert record["provenance"]["steps"] == recipe.steps
    assert record["provenance"]["seconds"] > 0
    assert record["provenance"]["data_checksum"].startswith("sha256:")
    assert [p.name for p in sorted((tmp_path / "samples").iterdir())] == [
        "00000004.png",
        "00000006.png",
    ]
    with Image.open(tmp_path / "samples" / "00000006.png") as sheet:
        columns = recipe.objective.network.classes or 10
        assert sheet.size == (columns * 8 * 2, 10 * 8 * 2)
    steps = [path.name for path in sorted((tmp_path / "checkpoints").iterdir())]
    assert steps == ["step-00000004", "step-00000006"]
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    phase = next(iter(recipe.objective.build().phases))
    assert [event.step for event in board.Scalars(f"{phase}/loss")] == [1, 2, 3, 4, 5, 6]


def test_a_vae_ends_with_its_test_loss(tmp_path: Path) -> None:
    metrics = run(tiny_vae(), tmp_path)
    assert metrics["test_loss"] == pytest.approx(
        metrics["test_reconstruction"] + metrics["test_kl"]
    )
    # 64 pixels of uniform grey cost at least their own entropy and, undecided, 64 ln 2.
    assert 30 < metrics["test_loss"] < 64 * math.log(2) + 5


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path, recipe: Recipe) -> None:
    run(recipe, tmp_path, until=2)
    saved = checkpoint.load(tmp_path / "checkpoints")
    name = next(n for n in saved.tensors if n.startswith("networks.") and n.endswith("weight"))
    poisoned = saved.tensors | {name: torch.full_like(saved.tensors[name], math.nan)}
    shutil.rmtree(tmp_path / "checkpoints")
    checkpoint.save(tmp_path / "checkpoints", replace(saved, tensors=poisoned), keep=2)
    with pytest.raises(DivergedError, match=r"step 2: '\w+/loss' is nan") as caught:
        run(recipe, tmp_path, resume=True)
    assert caught.value.step == 2


def test_an_infinite_loss_stops_the_run_before_it_reaches_a_checkpoint(tmp_path: Path) -> None:
    recipe = replace(tiny_vae(), objective=replace(tiny_vae().objective, beta=1e300))
    with pytest.raises(DivergedError, match=r"step 0: 'elbo/loss' is (inf|nan)"):
        run(recipe, tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path: Path, recipe: Recipe) -> None:
    data = random_splits(recipe.image)
    training = Training(recipe, data, torch.device("cpu"))
    name, phase = next(iter(training.objective.phases.items()))
    before = [p.detach().clone() for p in phase.module.parameters()]
    next(phase.module.parameters()).register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(DivergedError, match=f"step 0: '{name}/gradient' is nan"):
        training.advance()
    assert all(map(torch.equal, before, phase.module.parameters()))


def test_weights_that_are_not_finite_reach_no_checkpoint(tmp_path: Path) -> None:
    training = Training(tiny_vae(), random_splits(tiny_vae().image), torch.device("cpu"))
    with torch.no_grad():
        next(training.objective.networks.parameters()).fill_(math.inf)
    with pytest.raises(DivergedError, match=r"step 0: 'networks\.encoder\.\S+' is nan"):
        training.checkpoint()


def test_figures_that_are_not_finite_are_not_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Training, "evaluate", lambda *_: {"test_loss": math.nan})
    with pytest.raises(DivergedError, match="step 6: 'test_loss' is nan"):
        run(tiny_vae(), tmp_path)
    assert "NaN" not in (tmp_path / "run.json").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_finishes_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    advance = Training.advance

    def interrupted(self: Training) -> dict[str, float]:
        if self.step == 2:
            deliver(number)
        return advance(self)

    monkeypatch.setattr(Training, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_gan(), tmp_path / "parts")
    monkeypatch.undo()
    assert checkpoint.load(tmp_path / "parts" / "checkpoints").step == 3
    run(tiny_gan(), tmp_path / "parts", resume=True)
    run(tiny_gan(), tmp_path / "whole")
    expected, found = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    run(tiny_vae(), tmp_path, until=1)
    with pytest.raises(RunError, match="found a run: --resume to go on with it"):
        run(tiny_vae(), tmp_path)


def test_only_a_run_of_the_same_recipe_resumes(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="expected a run to resume"):
        run(tiny_vae(), tmp_path / "none", resume=True)
    run(tiny_vae(), tmp_path, until=1)
    with pytest.raises(RunError, match=r"found other settings: batch_size \d+ \(here 5\)"):
        run(replace(tiny_vae(), batch_size=5), tmp_path, resume=True)
    run(replace(tiny_vae(), summary="in other words", log_every=7), tmp_path, resume=True)


def test_a_run_that_goes_on_under_other_code_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for commit, until in (("aaa", 1), ("aaa", 2), ("bbb", 3), ("bbb", None)):
        monkeypatch.setattr(loop, "_commit", lambda commit=commit: {"commit": commit})
        run(tiny_vae(), tmp_path, resume=until != 1, until=until)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["provenance"]["commit"] == "aaa, from step 2 on bbb"


def test_only_the_data_of_the_run_resumes(tmp_path: Path) -> None:
    run(tiny_vae(), tmp_path, until=1)
    before = (tmp_path / "run.json").read_text()
    data = random_splits(tiny_vae().image)
    other = random_splits(tiny_vae().image, count=25)
    renamed = Splits(
        Dataset("random", data.train.images, data.train.labels, ("a", "b", "c"), "generated")
    )
    for splits, expected, found in (
        (other, data.train.checksum, other.train.checksum),
        (renamed, "class 0, class 1, class 2", "a, b, c"),
    ):
        with pytest.raises(RunError, match=f"expected the data.*{expected}.*found.*{found}"):
            train(tiny_vae(), splits, tmp_path, resume=True, device="cpu")
    assert (tmp_path / "run.json").read_text() == before


def test_fewer_steps_than_saved_are_refused(tmp_path: Path) -> None:
    run(tiny_vae(), tmp_path)
    before = (tmp_path / "run.json").read_text()
    with pytest.raises(RunError, match="steps: expected at least 6, which the run has, found 5"):
        run(replace(tiny_vae(), steps=5), tmp_path, resume=True)
    assert (tmp_path / "run.json").read_text() == before


def test_a_finished_run_keeps_its_figures(tmp_path: Path) -> None:
    metrics = run(tiny_vae(), tmp_path)
    longer = replace(tiny_vae(), steps=8)
    assert run(longer, tmp_path, resume=True, until=6) == metrics
    assert json.loads((tmp_path / "run.json").read_text())["provenance"]["metrics"] == metrics


def test_a_run_that_died_before_its_first_checkpoint_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(self: Training) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(Training, "checkpoint", dies)
        with pytest.raises(OSError, match="power cut"):
            run(tiny_vae(), tmp_path)
    assert (tmp_path / "run.json").exists()
    with pytest.raises(RunError, match="found no checkpoint: train without --resume"):
        run(tiny_vae(), tmp_path, resume=True)
    run(tiny_vae(), tmp_path)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_until_zero_trains_nothing(tmp_path: Path) -> None:
    run(tiny_vae(), tmp_path, until=0)
    assert checkpoint.load(tmp_path / "checkpoints").step == 0


def test_the_board_of_a_resumed_run_has_every_step(tmp_path: Path) -> None:
    run(tiny_vae(), tmp_path, until=3)
    run(tiny_vae(), tmp_path, resume=True)
    # Files of one second are read in the order of their names, which need not be that of writing.
    board = EventAccumulator(str(tmp_path / "tensorboard"), purge_orphaned_data=False).Reload()
    assert sorted(event.step for event in board.Scalars("elbo/loss")) == [1, 2, 3, 4, 5, 6]


def test_more_steps_of_the_same_recipe(tmp_path: Path) -> None:
    run(tiny_vae(), tmp_path)
    run(replace(tiny_vae(), steps=8), tmp_path, resume=True)
    assert checkpoint.load(tmp_path / "checkpoints").step == 8


def test_data_must_suit_the_recipe(tmp_path: Path) -> None:
    small = random_splits(ImageSpec(height=4, width=8, channels=1))
    with pytest.raises(DataError, match=r"expected images of \(8, 8, 1\) .* found \(4, 8, 1\)"):
        train(tiny_vae(), small, tmp_path / "run")
    two = random_splits(tiny_gan().image, classes=2)
    with pytest.raises(DataError, match="expected 3 classes for tiny_gan, found 2: class 0, class"):
        train(tiny_gan(), two, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("prior", ["normal", "uniform"])
def test_sheets_are_drawn_from_the_recipe_s_prior(
    prior: str,
) -> None:
    recipe = replace(tiny_gan(), objective=replace(tiny_gan().objective, prior=prior))
    training = Training(recipe, random_splits(recipe.image), torch.device("cpu"))
    seen = []
    training.model["decoder"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    first, second = training.draw(), training.draw()
    assert (first == second).all()
    assert seen[0].shape == (10 * 3, 4)  # a column for each class
    assert (seen[0].abs().max() <= 1) == (prior == "uniform")


def test_a_vae_learns(tmp_path: Path) -> None:
    data = random_splits(tiny_vae().image)
    training = Training(replace(tiny_vae(), steps=60), data, torch.device("cpu"))
    losses = [training.advance()["elbo/loss"] for _ in range(60)]
    assert sum(losses[-5:]) < sum(losses[:5]) - 1
