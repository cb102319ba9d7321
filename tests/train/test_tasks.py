"""What the tasks give of pictures: known answers, and the pixels that a service would give."""

import numpy as np
import pytest
import torch
from PIL import Image

from runtime.images import ImageSpec, fit
from train.data.domains import turned
from train.styles import STYLES, style_picture
from train.tasks import TASKS, centre_mask, free_mask


def _pictures(count: int = 3, side: int = 32) -> tuple[np.ndarray, torch.Tensor]:
    """uint8 [B, H, W, 3], and the same as float [B, 3, H, W] in [-1, 1]."""
    levels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3)).astype(np.uint8)
    return levels, torch.from_numpy(levels).permute(0, 3, 1, 2).float() / 127.5 - 1


def _levels(images: torch.Tensor) -> np.ndarray:
    values = images.permute(0, 2, 3, 1).double().numpy() * 127.5 + 127.5
    assert np.abs(values - np.rint(values)).max() < 1e-4, "expected whole grey levels"
    return np.rint(values).astype(np.uint8)


@pytest.mark.parametrize(
    ("task", "spec"),
    [
        ("colour", ImageSpec(height=32, width=32, channels=1)),
        ("enlarge", ImageSpec(height=8, width=8, channels=3)),
    ],
)
def test_grey_and_small_pictures_are_those_that_a_service_is_given(
    task: str, spec: ImageSpec
) -> None:
    levels, pictures = _pictures()
    (given,) = TASKS[task].given(pictures)
    expected = np.stack([fit(Image.fromarray(each), spec) for each in levels])
    # Pillow computes in integers: a level apart where ours lies half way between two.
    assert np.abs(_levels(given).astype(int) - expected).max() <= 1


def test_edges_are_where_the_picture_changes() -> None:
    pictures = -torch.ones(1, 3, 8, 8)
    pictures[..., 4:] = 1
    (edges,) = TASKS["edges"].given(pictures)
    drawn = _levels(edges)[0, :, :, 0]
    # From black to white: both columns beside the step are white, all others black.
    assert drawn.tolist() == [[0, 0, 0, 255, 255, 0, 0, 0]] * 8
    (turned_edges,) = TASKS["edges"].given(pictures.transpose(2, 3))
    assert torch.equal(turned_edges, edges.transpose(2, 3))
    # A fifth of that step, whose slope is 8, has one of 1.6, and 4 is white.
    (faint,) = TASKS["edges"].given(pictures / 5)
    assert np.unique(_levels(faint)).tolist() == [0, 102]


def test_grey_pictures_are_given_as_they_are_and_their_edges_are_those_of_equal_colours() -> None:
    levels, _ = _pictures()
    grey = torch.from_numpy(levels[..., :1]).permute(0, 3, 1, 2).float() / 127.5 - 1
    for name, task in TASKS.items():
        if name == "colour":
            continue
        torch.manual_seed(0)
        images, *masks = task.given(grey)
        assert images.shape[1] == task.channels(1) == 1
        assert sum(each.shape[1] for each in (images, *masks)) == task.planes(1)
    (edges,) = TASKS["edges"].given(grey)
    (expected,) = TASKS["edges"].given(grey.expand(-1, 3, -1, -1))
    # The weights of the colours add up to 1 but for rounding.
    assert np.abs(_levels(edges).astype(int) - _levels(expected)).max() <= 1


def test_the_middle_is_a_quarter_of_the_picture() -> None:
    mask = centre_mask(torch.zeros(2, 3, 8, 12))
    assert mask.shape == (2, 1, 8, 12)
    assert mask.sum() == 2 * 4 * 6
    assert mask[:, :, 2:6, 3:9].all()


def test_strokes_cross_a_part_of_each_picture_and_no_two_are_alike() -> None:
    torch.manual_seed(0)
    masks = free_mask(torch.zeros(200, 3, 32, 32))
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    # As `cifar10_inpainting` states them, of more strokes.
    shares = masks.mean(dim=(1, 2, 3))
    assert 0.06 < shares.min() < 0.15
    assert 0.5 < shares.max() < 0.65
    assert shares.mean().item() == pytest.approx(0.31, abs=0.02)
    assert len(masks.flatten(1).unique(dim=0)) == 200
    torch.manual_seed(0)
    assert torch.equal(free_mask(torch.zeros(200, 3, 32, 32)), masks)


def test_half_of_the_masks_in_training_are_the_middle() -> None:
    torch.manual_seed(0)
    pictures = torch.zeros(200, 3, 16, 16)
    images, masks = TASKS["fill"].given(pictures)
    middle = (masks == centre_mask(pictures)).flatten(1).all(dim=1)
    assert images is pictures
    assert 80 < middle.sum() < 120


def test_colours_turn_into_their_negatives_and_on() -> None:
    levels, _ = _pictures()
    colours = [[255, 255, 255], [255, 0, 0], [0, 0, 255], [0, 255, 0], [10, 20, 30]]
    expected = [[0, 0, 0], [255, 0, 255], [0, 255, 255], [255, 255, 0], [225, 245, 235]]
    assert turned(np.array(colours, np.uint8)).tolist() == expected
    again = levels
    for _ in range(6):
        again = turned(again)
    assert np.array_equal(again, levels)


@pytest.mark.parametrize("name", STYLES)
def test_styles_are_pictures_and_always_the_same(name: str) -> None:
    picture = style_picture(name)
    assert picture.shape == (1, 3, 64, 64)
    assert -1 <= picture.min() < -0.5 < 0.5 < picture.max() <= 1
    assert torch.equal(picture, style_picture(name))
