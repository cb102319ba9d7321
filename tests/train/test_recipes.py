"""Every recipe: its JSON, and a few steps at a tiny width on generated images."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from tests.train.conftest import SAMPLERS, narrow, random_splits
from train.data import SOURCES
from train.errors import OptionError
from train.loop import train
from train.networks.dcgan import DCGANParams
from train.networks.resnet import ResNetParams
from train.networks.vae import VAEParams
from train.objectives import ELBO, AdamParams, Adversarial
from train.recipes import RECIPE_JSON, RECIPES, Recipe
from train.runs import load_run
from train.training import Training

every_recipe = pytest.mark.parametrize("make", RECIPES.values(), ids=RECIPES.keys())


@pytest.mark.parametrize("name", SAMPLERS)
def test_trains_and_loads(name: str, tmp_path: Path) -> None:
    recipe = narrow(RECIPES[name]())
    classes = recipe.objective.network.classes or 1
    data = random_splits(recipe.image, classes)
    train(recipe, data, tmp_path, device="cpu")
    run = load_run(tmp_path)
    inputs = [torch.randn(3, *run.latent)] + [torch.arange(3)] * (run.labels is not None)
    inputs += [torch.randn(3, size) for size in run.noise]
    if run.captions is not None:
        inputs.append(torch.from_numpy(run.captions.tokens[:3]))
    images = run.decoder(*inputs)
    depth = () if run.depth is None else (run.depth,)
    assert images.shape == (3, run.image.channels, *depth, run.image.height, run.image.width)
    low, high = run.image.value_range
    assert low <= images.min() <= images.max() <= high


@every_recipe
def test_a_step_in_bf16_has_losses_in_fp32_near_those_of_fp32(make: Callable[[], Recipe]) -> None:
    recipe = narrow(make())
    data = random_splits(recipe.image, recipe.classes or 3)
    if recipe.validation:
        data = replace(data, held_out="validation")
    found: dict[str, dict[str, torch.Tensor]] = {}
    for precision in ("fp32", "bf16"):
        training = Training(replace(recipe, precision=precision), data, torch.device("cpu"))
        ((images, labels),) = training._batches().values()
        phases = training.objective.phases.items()
        for name, phase in phases:
            torch.manual_seed(0)
            with training.autocast():
                made = phase.losses(images, labels)
            next(iter(made.values())).backward()
            found.setdefault(name, {})[precision] = next(iter(made.values())).detach()
    for name, losses in found.items():
        assert losses["bf16"].dtype == torch.float32, name
        # bf16 has 8 bits; what it rounds in an untrained network moves a loss by a few percent.
        assert_close(losses["bf16"], losses["fp32"], rtol=0.1, atol=0.1)


@every_recipe
def test_json_round_trip(make: Callable[[], Recipe]) -> None:
    assert RECIPE_JSON.validate_json(RECIPE_JSON.dump_json(make())) == make()


@every_recipe
def test_is_named_after_its_function_and_has_a_source(make: Callable[[], Recipe]) -> None:
    assert make().name == make.__name__
    assert make().source in SOURCES


def test_the_steps_that_the_docs_state_are_those_of_the_recipes() -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    found: dict[str, int] = {}
    for section in page.split("\n## "):
        for steps in re.findall(r"All ([\d,]+) steps", section):
            (name,) = set(re.findall(r"python -m train (\w+)", section))
            found[name] = int(steps.replace(",", ""))
    assert found == {name: RECIPES[name]().steps for name in ("shapes_prompted", "furniture_vae")}


def test_a_network_of_another_size_is_refused() -> None:
    with pytest.raises(ValidationError, match="network: expected images of"):
        replace(RECIPES["mnist_cgan"](), objective=Adversarial(DCGANParams()))


def test_the_kind_of_network_is_told_by_its_name() -> None:
    """Records of runs from before there were several do not name it: they are DCGANs."""
    for name, network in (("cifar10_dcgan", DCGANParams), ("cifar10_biggan", ResNetParams)):
        described = RECIPE_JSON.dump_python(RECIPES[name](), mode="json")
        assert isinstance(RECIPE_JSON.validate_python(described).objective.network, network)
        del described["objective"]["network"]["kind"]
        if network is DCGANParams:
            assert isinstance(RECIPE_JSON.validate_python(described).objective.network, network)
        else:
            with pytest.raises(ValidationError, match=r"dcgan\.growth"):
                RECIPE_JSON.validate_python(described)


def test_batches_that_hold_parts_of_a_pack_are_refused() -> None:
    packed = RECIPES["stacked_pacgan"]()
    for changes in ({"batch_size": 3}, {"batch_size": 12, "shards": 4}):
        with pytest.raises(ValidationError, match="batch_size: expected whole packs of 2 in each"):
            replace(packed, **changes)


def test_parts_of_a_batch_that_batch_norm_cannot_take_are_refused() -> None:
    made = narrow(RECIPES["shapes_prompted"]())
    data = random_splits(made.image, made.classes)
    for changes in ({"batch_size": 1}, {"shards": made.batch_size}):
        with pytest.raises(OptionError, match="expected at least 2 images in each part"):
            Training(replace(made, **changes), data, torch.device("cpu"))
    # Over maps there are many numbers of one image.
    made = replace(narrow(RECIPES["cifar10_dcgan"]()), batch_size=1)
    Training(made, random_splits(made.image), torch.device("cpu")).advance()


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match=r"network\.sigmoid: expected True"):
        ELBO(VAEParams(sigmoid=False), AdamParams(1e-3))
    with pytest.raises(ValueError, match="expected 0 with the hinge loss"):
        Adversarial(DCGANParams(), loss="hinge", label_noise=0.1)


@pytest.mark.parametrize("name", ["mnist_vae", "mnist_pixelcnn", "mnist_gan", "mnist_vae_gan"])
def test_images_of_another_range_than_the_networks_make_are_refused(name: str) -> None:
    """Of values in [-1, 1] a Bernoulli likelihood has no least value: a VAE's loss fell below
    -39,000 nats; and a tanh never comes near the dark half of [0, 1]."""
    recipe = RECIPES[name]()
    low, _ = recipe.image.value_range
    other = {"value_range": (-1.0 - low, 1.0)}
    with pytest.raises(ValidationError, match=r"image\.value_range: expected .*, which the net"):
        replace(recipe, image=recipe.image.model_copy(update=other))


@pytest.mark.parametrize(
    "objective",
    [
        Adversarial(DCGANParams(), loss="minimax"),
        Adversarial(DCGANParams(), loss="hinge"),
        Adversarial(DCGANParams(strided=False, tanh=False, kernel=3), prior="uniform"),
        ELBO(
            VAEParams(height=32, width=32, channels=3, sigmoid=False),
            AdamParams(1e-3),
            likelihood="gaussian",
        ),
    ],
)
def test_other_settings_train(objective: Adversarial | ELBO, tmp_path: Path) -> None:
    recipe = replace(RECIPES["cifar10_frogs_dcgan"](), objective=objective)
    recipe = narrow(recipe)
    train(recipe, random_splits(recipe.image), tmp_path, device="cpu")
    assert (tmp_path / "run.json").exists()


@pytest.mark.parametrize(
    ("setting", "value"), [("steps", 0), ("batch_size", 0), ("seed", -1), ("validation", -1)]
)
def test_numbers_have_bounds(setting: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{setting}: expected at least .*, found {value}"):
        replace(RECIPES["digits_vae"](), **{setting: value})
