"""Gated PixelCNN: probabilities that add up, of pixels that depend on those before them alone."""

from dataclasses import replace
from itertools import product
from typing import cast

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from runtime.images import ImageSpec
from tests.train.conftest import random_splits
from train.metrics import importance_weighted_bound
from train.networks.pixelcnn import PixelCNN, PixelCNNParams
from train.objectives import AdamParams, Autoregressive
from train.recipes import RECIPES
from train.training import Training


def network(height: int, width: int, **settings) -> PixelCNN:
    """With weights large enough that nothing is hidden by being small."""
    params = PixelCNNParams(height, width, features=4, head=4, **settings)
    made = params.build().double()
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(0.5 * torch.randn_like(weight))
    return made


@pytest.mark.parametrize("layers", [1, 3])
def test_a_pixel_depends_on_all_those_before_it_and_on_no_other(layers: int) -> None:
    made = network(5, 6, layers=layers, reach=5)

    def logits(image: torch.Tensor) -> torch.Tensor:
        return made.logits(image.reshape(1, 1, 5, 6)).flatten()

    seen = torch.zeros(30, 30)
    for _ in range(3):  # one gradient may be 0 by chance
        seen += torch.autograd.functional.jacobian(logits, torch.rand(30).double()).abs() > 0
    assert not seen.triu().any()
    before = torch.ones(30, 30).tril(-1).bool()
    assert seen[before].all()  # no blind spot either


def test_the_probabilities_of_all_images_sum_to_one() -> None:
    objective = Autoregressive(
        PixelCNNParams(2, 2, features=4, layers=2, head=4), AdamParams(1e-3)
    ).build()
    objective.model["decoder"] = network(2, 2, layers=2)
    images = torch.tensor(list(product((0.0, 1.0), repeat=4))).double().reshape(16, 1, 2, 2)
    with torch.no_grad():
        nll = objective.nll(objective.model, images)
    total = importance_weighted_bound([-nll[None].numpy()])[0] + np.log(16)
    assert total == pytest.approx(0, abs=1e-5)  # the objective computes in float32
    assert nll.std() > 0.1


def test_a_pixel_is_drawn_by_its_probability_given_those_before_it() -> None:
    made = network(4, 6, layers=2, reach=1)
    normals = torch.randn(200, 24).double()
    drawn = made(normals)
    with torch.no_grad():
        probability = made.logits(drawn).sigmoid()
    uniform = torch.special.ndtr(normals).reshape(drawn.shape)
    assert torch.equal(drawn, (uniform < probability).double())
    assert 0.1 < drawn.mean().item() < 0.9


def test_an_image_depends_on_its_own_normals_alone() -> None:
    made = network(3, 4, layers=2)
    normals = torch.randn(5, 12).double()
    assert_close(made(normals)[3:4], made(normals[3:4]))


def test_training_lowers_the_loss_and_pixels_are_drawn_anew() -> None:
    recipe = RECIPES["mnist_pixelcnn"]()
    params = PixelCNNParams(8, 8, features=8, layers=2, head=8)
    small = replace(
        recipe,
        image=ImageSpec(height=8, width=8, channels=1, value_range=(0.0, 1.0)),
        objective=Autoregressive(params, AdamParams(1e-2)),
        steps=40,
        batch_size=24,
    )
    data = random_splits(small.image)
    rows = np.arange(8)[None, :, None, None] * np.full((24, 1, 8, 1), 36, np.uint8)
    data = replace(data, train=replace(data.train, images=rows.astype(np.uint8)))
    training = Training(small, data, torch.device("cpu"))
    seen = []
    decoder = cast(PixelCNN, training.objective.networks["decoder"])
    decoder.layers[0].get_submodule("vertical").register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0])
    )
    losses = [training.advance()["likelihood/loss"] for _ in range(40)]
    assert losses[-1] < losses[0] - 2
    assert seen[0].unique().tolist() == [0.0, 1.0]
    assert not torch.equal(seen[0], seen[1])
