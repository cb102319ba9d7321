"""Translators: their networks, their terms, and runs that are repeated and resumed exactly."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from runtime.images import ImageSpec
from tests.train.conftest import TRANSLATORS, narrow, random_splits
from train import losses
from train.data import Splits
from train.errors import DataError, RunError
from train.loop import train
from train.metrics import mean_absolute
from train.networks.features import FeaturesParams
from train.networks.masked import Masked
from train.networks.patches import PatchParams
from train.networks.residual import ResidualParams
from train.networks.unet import UNetParams
from train.objectives import AdamParams, Cycle, Translation
from train.objectives.cycle import CycleObjective, Pool
from train.options import Options, build
from train.recipes import RECIPES, Recipe
from train.runs import TrainedTranslator, load_any, load_run
from train.schedule import balanced_order
from train.tasks import TASKS
from train.training import Training

SMALL = UNetParams(height=16, width=16, features=2, stages=2)
CYCLE = Cycle(
    ResidualParams(height=16, width=16, features=2, halvings=1, blocks=1),
    patches=PatchParams(features=2),
    pool=3,
)


def recipe(objective: Translation | Cycle, **changes: Any) -> Recipe:
    made = Recipe(
        summary="for tests",
        source="random",
        image=ImageSpec(height=16, width=16, channels=objective.network.channels),
        objective=objective,
        balanced=isinstance(objective, Cycle),
        steps=4,
        batch_size=4,
        checkpoint_every=2,
    )
    return replace(made, **changes)


def perceptive(**changes: Any) -> Recipe:
    """Every term of a translator."""
    objective = Translation(
        SMALL,
        "colour",
        adversarial=0.1,
        patches=PatchParams(features=2),
        content=0.1,
        style=0.1,
        style_of="waves",
        warm_up=0.5,
    )
    small = replace(objective.features, widths=(2, 3, 4))
    return recipe(replace(objective, features=small), **changes)


def cyclic(**changes: Any) -> Recipe:
    return recipe(CYCLE, **changes)


def data_of(made: Recipe) -> Splits:
    return random_splits(made.image, made.classes or 1)


def training(made: Recipe) -> Training:
    return Training(made, data_of(made), torch.device("cpu"))


every_kind = pytest.mark.parametrize("make", [perceptive, cyclic])


@pytest.mark.parametrize("name", TRANSLATORS)
def test_every_recipe_trains_and_loads(name: str, tmp_path: Path) -> None:
    made = narrow(RECIPES[name]())
    train(made, data_of(made), tmp_path, device="cpu")
    run = load_any(tmp_path)
    assert isinstance(run, TrainedTranslator)
    given = [torch.rand(2, run.given.channels, run.given.height, run.given.width) * 2 - 1]
    if run.takes_mask:
        given.append(torch.ones(2, 1, *given[0].shape[2:]))
    for translator in run.translators.values():
        assert translator(*given).shape == (2, 3, 32, 32)
    assert (len(run.translators) == 2) == isinstance(made.objective, Cycle)
    assert run.sheet == tmp_path / "samples" / f"{made.steps:08d}.png"
    assert run.sheet.is_file()
    with pytest.raises(RunError, match="expected a run whose model samples"):
        load_run(tmp_path)


GREY = replace(SMALL, channels=1)
ENLARGER = ResidualParams(16, 16, 1, features=2, halvings=0, blocks=1, norm="none")


@pytest.mark.parametrize(
    "objective",
    [
        replace(CYCLE, network=replace(CYCLE.network, channels=1)),
        *(
            Translation(network, task, adversarial=0.1, patches=PatchParams(features=2))
            for task, network in (("edges", GREY), ("fill", GREY), ("enlarge", ENLARGER))
        ),
        Translation(
            GREY,
            "repaint",
            content=1.0,
            warm_up=0.5,
            features=FeaturesParams(channels=1, widths=(2, 3, 4)),
        ),
    ],
    ids=["cycle", "edges", "fill", "enlarge", "repaint"],
)
def test_grey_pictures_are_translated(objective: Translation | Cycle, tmp_path: Path) -> None:
    made = recipe(objective)
    train(made, data_of(made), tmp_path, device="cpu")
    run = load_any(tmp_path)
    assert isinstance(run, TrainedTranslator)
    assert run.given.channels == 1
    given = [torch.rand(2, 1, run.given.height, run.given.width) * 2 - 1]
    if run.takes_mask:
        given.append(torch.ones(2, 1, 16, 16))
    for translator in run.translators.values():
        assert translator(*given).shape == (2, 1, 16, 16)


@every_kind
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    make: Callable[..., Recipe], tmp_path: Path
) -> None:
    made = make()
    train(made, data_of(made), tmp_path / "whole", device="cpu")
    train(made, data_of(made), tmp_path / "parts", device="cpu", until=3)
    train(made, data_of(made), tmp_path / "parts", device="cpu", resume=True)
    ends = [tmp_path / part / "checkpoints" / "step-00000004" for part in ("whole", "parts")]
    one, other = ((end / "state.safetensors").read_bytes() for end in ends)
    assert one == other


def test_features_are_learned_first_and_then_frozen() -> None:
    run = training(perceptive())
    kept = []
    for _ in range(4):
        reported = run.advance()
        kept.append([p.clone() for p in run.objective.networks["features"].parameters()])
        warm = run.step <= 2
        assert ("features/loss" in reported) == warm
        assert ("discriminator/loss" in reported) == (not warm)
        assert ("generator/style" in reported) == (not warm)
        assert ("generator/adversarial" in reported) == (not warm)
    assert any(not torch.equal(a, b) for a, b in zip(kept[0], kept[1], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(kept[1], kept[3], strict=True))


def test_pixels_alone_teach_what_was_wanted() -> None:
    """Half grey, half white pictures from grey ones: learned in a few steps, to a few levels."""
    made = recipe(Translation(SMALL, "colour", generator=AdamParams(1e-2)), steps=60, batch_size=16)
    data = data_of(made)
    data.train.images[:] = np.where(np.arange(16) < 8, 60, 200)[:, None]
    run = training(replace(made))
    run.images = torch.from_numpy(data.train.images)
    before = run.evaluate(Splits(data.train, data.train))["test_l1"]
    for _ in range(60):
        run.advance()
    after = run.evaluate(Splits(data.train, data.train))
    assert after["test_l1"] < 12 < before
    assert after["test_psnr"] > 20


def test_figures_are_those_of_whole_grey_levels() -> None:
    made = recipe(Translation(SMALL, "colour"))
    data, run = data_of(made), training(made)
    found = run.evaluate(data)
    assert data.test is not None
    run.model.eval()
    images = torch.from_numpy(data.test.images).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        outputs = run.model["translator"](*TASKS["colour"].given(images))
    levels = np.rint(outputs.numpy() * 127.5 + 127.5).clip(0, 255).astype(np.uint8)
    assert found["test_l1"] == pytest.approx(
        mean_absolute(levels, data.test.images.transpose(0, 3, 1, 2)), abs=0.01
    )


@every_kind
def test_the_sheet_has_rows_of_what_is_given_made_and_wanted(make: Callable[..., Recipe]) -> None:
    run = training(make())
    sheet = run.draw()
    assert sheet.shape == (90, 16, 16, 3)
    rows = sheet.reshape(9, 10, 16, 16, 3)
    if isinstance(run.recipe.objective, Translation):
        given, wanted = rows[0].astype(int), rows[2]
        assert np.abs(given[..., 0] - wanted @ [0.299, 0.587, 0.114]).max() <= 1
        known = {image.tobytes() for image in run.images.numpy()}
        assert all(image.tobytes() in known for image in wanted)
    assert np.array_equal(sheet, run.draw())


def test_the_sheet_of_a_cyclegan_turns_pictures_of_the_first_kind_alone() -> None:
    run = training(cyclic())
    given, made, returned = run.draw().reshape(3, 3, 10, 16, 16, 3).swapaxes(0, 1)
    kind = {
        image.tobytes(): label for image, label in zip(run.images.numpy(), run.classes, strict=True)
    }
    assert {kind[image.tobytes()] for image in given.reshape(30, 16, 16, 3)} == {0}
    images = run.prepare(torch.from_numpy(given.reshape(30, 16, 16, 3)).permute(0, 3, 1, 2))
    with torch.no_grad():
        expected = run.model["translator"].eval()(images)
        again = run.model["back"].eval()(expected)
    for found, wanted in ((made, expected), (returned, again)):
        levels = (wanted.permute(0, 2, 3, 1) * 127.5 + 127.5).clamp(0, 255).numpy()
        assert np.abs(found.reshape(levels.shape) - levels).max() < 1  # a level, by rounding


@pytest.mark.parametrize("scale", [1, 4])
@pytest.mark.parametrize("params", [UNetParams(features=2), ResidualParams(features=2, blocks=1)])
def test_networks_make_pictures_of_their_size(params: Any, scale: int) -> None:
    network = params.build(3, scale).eval()
    made = network(torch.rand(2, 3, 32 // scale, 32 // scale))
    assert made.shape == (2, 3, 32, 32)


def test_an_untouched_enlarger_gives_the_picture_that_it_is_given() -> None:
    network = ResidualParams(features=2, halvings=0, blocks=1, norm="none").build(3, 4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    small = torch.rand(1, 3, 4, 4)
    assert_close(network(small), small.repeat_interleave(4, 2).repeat_interleave(4, 3))


def test_inpainting_keeps_what_is_known_and_does_not_look_behind_the_mask() -> None:
    network = Masked(SMALL.build(4)).eval()
    images, mask = torch.rand(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)
    mask[..., 4:9] = 1
    other = torch.where(mask > 0, torch.rand_like(images), images)
    made = network(images, mask)
    assert torch.equal(made, network(other, mask))
    assert torch.equal(made[..., :4], images[..., :4])
    assert not torch.equal(made[..., 4:9], images[..., 4:9])


def test_a_patch_has_sixteen_pixels_a_side_and_with_another_stage_34() -> None:
    for stages, side in ((1, 16), (2, 34)):
        judge = PatchParams(features=2, stages=stages).build(1)
        # Norms see the whole picture: left out, what remains is how far a score looks.
        layers = [each for each in judge.layers if not isinstance(each, torch.nn.InstanceNorm2d)]
        image = torch.rand(1, 1, 96, 96, requires_grad=True)
        scores = torch.nn.Sequential(*layers)(image)
        scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2].backward()
        assert image.grad is not None
        seen = image.grad[0, 0].nonzero()
        assert (seen.amax(0) - seen.amin(0) + 1).tolist() == [side, side]


def test_content_and_style_distances_have_known_answers() -> None:
    features = torch.rand(2, 3, 4, 5)
    assert losses.content_distance(features, features) == 0
    assert_close(losses.content_distance(3 * features, features), torch.tensor(4.0))
    # Where features are does not matter to a style, nor how many positions there are.
    shuffled = features.flatten(2)[:, :, torch.randperm(20)].view(2, 3, 4, 5)
    assert losses.style_distance(shuffled[:1], features[:1]) < 1e-10
    twice = torch.cat([features, features], dim=3)
    assert losses.style_distance(twice[:1], features[:1]) < 1e-10
    # Twice the features have four times the products.
    assert_close(losses.style_distance(2 * features[:1], features[:1]), torch.tensor(9.0))
    assert_close(losses.gram(torch.tensor([[[[1.0, 3.0]], [[2.0, 0.0]]]])), _gram())


def test_gram_matrices_are_of_fp32_under_autocast_too() -> None:
    features = torch.rand(2, 3, 4, 5)
    with torch.autocast("cpu", torch.bfloat16):
        found = losses.gram(features)
    assert found.dtype == torch.float32
    assert torch.equal(found, losses.gram(features))


def _gram() -> Tensor:
    return torch.tensor([[[5.0, 1.0], [1.0, 2.0]]])


def test_the_pool_gives_half_of_the_time_what_was_made_earlier() -> None:
    pool = Pool(4, (1, 1, 1))
    numbers = torch.arange(404.0).view(-1, 1, 1, 1)
    assert torch.equal(pool(numbers[:4]), numbers[:4])
    given = torch.cat([pool(numbers[i : i + 4]) for i in range(4, 404, 4)])
    own = (given == numbers[4:]).float().mean()
    assert 0.4 < own < 0.6
    # Every picture was given once since it was kept, or still is.
    assert sorted([*given.flatten().tolist(), *pool.images.flatten().tolist()]) == list(range(404))
    assert torch.equal(Pool(0, (1, 1, 1))(numbers[:4]), numbers[:4])


def test_every_batch_of_a_cyclegan_has_as_many_of_both_kinds() -> None:
    run = training(cyclic())
    for step in range(20):
        run.step = step
        ((_, labels),) = run._batches().values()
        assert labels.tolist() == [0, 1, 0, 1]


def test_a_balanced_order_depends_on_the_place_alone_and_leaves_nothing_out() -> None:
    labels = np.array([0, 1, 1, 0, 1, 0, 0, 0])
    rows = balanced_order(3, labels, 0, 40)
    assert labels[rows].tolist() == [0, 1] * 20
    for label in (0, 1):
        members = np.flatnonzero(labels == label)
        own = rows[labels[rows] == label][: len(members) * 3].reshape(3, -1)
        assert all(sorted(epoch) == members.tolist() for epoch in own)
    for start, count in ((5, 7), (12, 1), (33, 6)):
        assert balanced_order(3, labels, start, count).tolist() == rows[start:][:count].tolist()


def test_a_learning_rate_is_that_of_both_players() -> None:
    for name in ("cifar10_pix2pix", "cifar10_cyclegan"):
        objective = build(name, Options(learning_rate=1e-3)).objective
        assert isinstance(objective, Translation | Cycle)
        assert objective.generator.learning_rate == 1e-3
        assert objective.discriminator.learning_rate == pytest.approx(1e-3)


def test_each_maker_answers_for_its_own_kind() -> None:
    """The terms of A's pictures reach A's maker through the way there and back, and alone."""
    objective = CycleObjective(CYCLE)
    labels = torch.tensor([0, 1])
    found = objective.phases["generators"].losses(torch.rand(2, 3, 16, 16), labels)
    names = {"adversarial_a", "adversarial_b", "cycle_a", "cycle_b", "identity_a", "identity_b"}
    assert set(found) == {"loss", *names}
    parts = {name: float(found[name].detach()) for name in names}
    expected = sum(
        value * {"adversarial": 1, "cycle": 10, "identity": 5}[name.partition("_")[0]]
        for name, value in parts.items()
    )
    assert float(found["loss"].detach()) == pytest.approx(expected, rel=1e-5)
    found["identity_a"].backward()
    assert all(p.grad is None for p in objective.makers[1].parameters())


def styled(network: UNetParams) -> Translation:
    return Translation(network, "repaint", style=1.0, style_of="waves", warm_up=0.5)


def content(network: UNetParams) -> Translation:
    return Translation(network, "repaint", content=1.0, warm_up=0.5)


@pytest.mark.parametrize(
    ("message", "make"),
    [
        ("task: expected one of colour", lambda: Translation(SMALL, "none")),
        ("style_of: expected one of mosaic", lambda: Translation(SMALL, "repaint", style=1.0)),
        ("style_of: expected none", lambda: Translation(SMALL, "repaint", style_of="waves")),
        ("warm_up: expected more than 0", lambda: Translation(SMALL, "repaint", content=1.0)),
        ("channels: expected 3 for colour; found 1", lambda: Translation(GREY, "colour")),
        (
            "multiples of 4 for enlarge",
            lambda: Translation(ResidualParams(30, 30, halvings=0), "enlarge"),
        ),
        ("channels: expected 3 with a style", lambda: styled(GREY)),
        ("features.channels: expected those of the pictures, 1; found 3", lambda: content(GREY)),
        ("scale . 2..halvings = 16", lambda: ResidualParams(24, 24, halvings=2).build(3, 4)),
        ("loss: expected one of non_sat", lambda: Cycle(SMALL, loss="relativistic")),
        ("multiples of 2..stages = 16", lambda: UNetParams(height=24)),
        ("multiples of 2..halvings = 4", lambda: ResidualParams(width=30)),
        ("scale: expected a power of 2", lambda: ResidualParams().build(3, 3)),
        ("expected inputs of 3 channels", lambda: ResidualParams().build(4, 2)),
        ("shards and balanced", lambda: cyclic(shards=2)),
        ("shards and balanced", lambda: replace(cyclic(), balanced=False)),
        ("batch_size: expected an even one of at least 2", lambda: cyclic(batch_size=1)),
        ("batch_size: expected an even one of at least 2", lambda: cyclic(batch_size=3)),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    message: str, make: Callable[[], Any]
) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_translator_draws_no_samples() -> None:
    with pytest.raises(TypeError, match="expected a model of latents, found a translator"):
        training(cyclic()).samples(4)


def test_other_numbers_of_classes_are_refused() -> None:
    with pytest.raises(DataError, match="expected 2 classes"):
        Training(cyclic(), random_splits(cyclic().image, 3), torch.device("cpu"))
    with pytest.raises(DataError, match="expected 10 classes"):
        Training(perceptive(), random_splits(perceptive().image, 3), torch.device("cpu"))
