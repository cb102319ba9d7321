"""Points in the plane: where they are, and what a frame and its picture show of a run."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from train.data import load
from train.data.plane import PLACES, RADII, to_images
from train.loop import train
from train.plane import FIELD, Frame, frame, is_plane, picture
from train.recipes import RECIPES
from train.training import Training

CPU = torch.device("cpu")


def started(name: str) -> Training:
    recipe = replace(RECIPES[name](), steps=2, batch_size=8)
    return Training(recipe, load(recipe.source, None, recipe.image), CPU)


def test_a_point_is_its_coordinates_in_255ths() -> None:
    images = to_images(np.array([[0.0, 1.0], [0.5, -0.2]]))
    assert images.shape == (2, 1, 2, 1)
    assert images.reshape(2, 2).tolist() == [[0, 255], [128, 0]]


def test_rings_and_a_grid() -> None:
    rings = load("rings", None, RECIPES["rings_gan"]().image)
    points = rings.train.images.reshape(-1, 2) / 255
    distances = np.linalg.norm(points - 0.5, axis=1)
    for label, radius in enumerate(RADII):
        assert distances[rings.train.labels == label].mean() == pytest.approx(radius, abs=0.002)
    grid = load("gaussians", None, RECIPES["grid_gan"]().image).train
    middles = [(grid.images[grid.labels == k].reshape(-1, 2) / 255).mean(axis=0) for k in range(9)]
    expected = [(x, y) for y in PLACES for x in PLACES]
    np.testing.assert_allclose(middles, expected, atol=0.002)
    assert rings.test is not None
    assert rings.test.checksum != rings.train.checksum


class Rightwards(nn.Module):
    """A discriminator that takes a point for real the further to the right it is."""

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return 4 * images[:, 0, 0, 0]


def test_the_frame_of_a_gan_has_the_discriminator_s_field_and_pulls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training = started("rings_gan")
    monkeypatch.setattr(training.objective, "discriminator", Rightwards())
    shown = frame(training)
    middles = (np.arange(FIELD) + 0.5) / FIELD
    expected = 1 / (1 + np.exp(-4 * (2 * middles - 1)))  # in [-1, 1], as the network has it
    np.testing.assert_allclose(shown.field, np.tile(expected, (FIELD, 1)), atol=1e-5)
    np.testing.assert_array_equal(shown.arrows[:, :2], shown.samples[: len(shown.arrows)])
    assert (shown.arrows[:, 2] > 0).all()
    assert (shown.arrows[:, 3] == 0).all()
    np.testing.assert_allclose(
        shown.data, training.images[: len(shown.data)].reshape(-1, 2) / 255, atol=1e-6
    )
    assert 0 <= shown.samples.min() < shown.samples.max() <= 1


class Point(nn.Module):
    """A decoder that rebuilds every point in one place."""

    def forward(self, latents: Tensor) -> Tensor:
        return torch.tensor([0.25, 0.75]).expand(len(latents), 1, 1, 2)


def test_the_frame_of_a_vae_has_its_fit_and_reconstructions() -> None:
    training = started("rings_vae")
    training.model["decoder"] = Point()
    shown = frame(training)
    row, column = np.unravel_index(shown.field.argmax(), shown.field.shape)
    assert (column, row) == (FIELD // 4, 3 * FIELD // 4) or (
        (abs(column + 0.5 - FIELD / 4), abs(row + 0.5 - 3 * FIELD / 4)) == (0.5, 0.5)
    )
    assert shown.field.max() == 1
    wanted = np.array([0.25, 0.75]) - shown.arrows[:, :2]
    lengths = np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(
        shown.arrows[:, 2:] / np.linalg.norm(shown.arrows[:, 2:], axis=1, keepdims=True),
        wanted / lengths,
        atol=1e-4,
    )


@pytest.mark.parametrize("name", ["rings_gan", "grid_vae"])
def test_looking_at_a_run_does_not_change_it(name: str) -> None:
    seen, unseen = started(name), started(name)
    assert is_plane(seen.recipe)
    frame(seen)
    for training in (seen, unseen):
        training.advance()
    frame(seen)
    reports = [training.advance() for training in (seen, unseen)]
    assert reports[0] == reports[1]


def test_a_picture_shows_points_where_they_are() -> None:
    nothing = np.zeros((0, 2), np.float32)
    field = np.full((FIELD, FIELD), 0.5, np.float32)
    field[: FIELD // 2] = 1.0  # below
    data = np.array([[0.25, 0.875]], np.float32)
    image = picture(Frame(1, data, nothing, field, np.zeros((0, 4), np.float32)))
    height, width, _ = image.shape
    assert image[height // 8, width // 4].max() < 120  # a dark dot, an eighth from the top
    assert image[height // 8, width // 2].min() > 240
    below = cast(Any, image[7 * height // 8, width // 4]).tolist()
    assert below[2] > below[0] + 40  # blue


def test_sheets_of_a_run_are_pictures_of_the_plane(tmp_path: Path) -> None:
    recipe = replace(RECIPES["rings_gan"](), steps=2, batch_size=8)
    train(recipe, load("rings", None, recipe.image), tmp_path, device="cpu")
    with Image.open(tmp_path / "samples" / "00000002.png") as sheet:
        assert sheet.size == (384, 384)
