"""Differentiable augmentation and averaged weights."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.testing import assert_close

from train.augment import SHIFT, augment
from train.ema import AveragedWeights


@pytest.fixture
def images() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(64, 3, 16, 16) * 2 - 1


def test_no_policy_changes_nothing(images: torch.Tensor) -> None:
    assert augment(images, ()) is images


def test_flip_mirrors_about_half_of_the_images(images: torch.Tensor) -> None:
    changed = augment(images, ("flip",))
    mirrored = (changed == images.flip(3)).flatten(1).all(1)
    same = (changed == images).flatten(1).all(1)
    assert torch.equal(mirrored, ~same)
    assert 16 <= mirrored.sum() <= 48  # 64 fair coins: four standard deviations


def test_shift_moves_whole_pixels_and_fills_with_zero(images: torch.Tensor) -> None:
    reach = round(16 * SHIFT)
    padded = nn.functional.pad(images, (reach,) * 4)
    seen = set()
    for image, whole in zip(augment(images, ("shift",)), padded, strict=True):
        offsets = [
            (y, x)
            for y in range(2 * reach + 1)
            for x in range(2 * reach + 1)
            if torch.equal(image, whole[:, y : y + 16, x : x + 16])
        ]
        assert len(offsets) == 1
        seen.update(offsets)
    assert len(seen) > 15


def test_cutout_erases_one_rectangle(images: torch.Tensor) -> None:
    changed = augment(images, ("cutout",))
    erased = (changed == 0).all(1)
    assert torch.equal(
        changed[~erased[:, None].expand_as(changed)], images[~erased[:, None].expand_as(images)]
    )
    for mask in erased:
        rows, columns = mask.any(1), mask.any(0)
        assert torch.equal(mask, rows[:, None] & columns[None, :])
        assert 4 <= rows.sum() <= 8
        assert 4 <= columns.sum() <= 8


def test_colour_keeps_where_things_are(images: torch.Tensor) -> None:
    changed = augment(images, ("colour",))
    assert not torch.equal(changed, images)
    grey, changed_grey = images.mean(1).flatten(1), changed.mean(1).flatten(1)
    for before, after in zip(grey, changed_grey, strict=True):
        # Brightness and contrast are affine in the grey values: perfectly correlated.
        assert torch.corrcoef(torch.stack([before, after]))[0, 1].item() == pytest.approx(
            1, abs=1e-4
        )


def test_the_gradient_passes_through(images: torch.Tensor) -> None:
    images.requires_grad_()
    augment(images, ("flip", "colour", "shift", "cutout")).square().sum().backward()
    assert images.grad is not None
    assert (images.grad.flatten(1).abs().sum(1) > 0).all()


def test_one_drawing_per_image(images: torch.Tensor) -> None:
    same = images[:1].repeat(64, 1, 1, 1)
    assert len(augment(same, ("shift", "cutout")).unique(dim=0)) > 50


def averaged(average: AveragedWeights, name: str) -> torch.Tensor:
    return average.module.state_dict()[f"decoder.{name}"]


def test_averaged_weights_are_the_exponential_mean() -> None:
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(0.0)
    module = nn.ModuleDict({"decoder": layer})
    average = AveragedWeights(module, decay=0.5)
    expected = 0.0
    for step in range(20, 25):
        layer.weight.data.fill_(float(step))
        average.update(module, step)
        expected = 0.5 * expected + 0.5 * step
    assert averaged(average, "weight").item() == pytest.approx(expected)


def test_early_averages_forget_the_random_start() -> None:
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(100.0)
    module = nn.ModuleDict({"decoder": layer})
    average = AveragedWeights(module, decay=0.9999)
    layer.weight.data.fill_(1.0)
    for step in range(1, 200):
        average.update(module, step)
    assert averaged(average, "weight").item() == pytest.approx(1.0, abs=0.01)


def test_batch_statistics_are_averaged_and_counters_copied() -> None:
    module = nn.ModuleDict({"decoder": nn.BatchNorm1d(1)})
    average = AveragedWeights(module, decay=0.5)
    state = {"running_mean": torch.tensor([4.0]), "num_batches_tracked": torch.tensor(7)}
    module["decoder"].load_state_dict(state, strict=False)
    average.update(module, step=100)
    assert_close(averaged(average, "running_mean"), torch.tensor([2.0]))
    assert averaged(average, "num_batches_tracked").item() == 7


def test_averaged_weights_keep_their_spectral_norm() -> None:
    """Their own: the mean of turning singular vectors is shorter than 1."""
    layer = spectral_norm(nn.Linear(6, 6, bias=False))
    (weight,) = layer.parameters()
    module = nn.ModuleDict({"decoder": layer})
    average = AveragedWeights(module, decay=0.95)
    for step in range(100, 400):
        with torch.no_grad():
            weight.add_(0.1 * torch.randn(6, 6))
        layer(torch.zeros(1, 6))  # a step of the live layer's own power iteration
        average.update(module, step)
    kept = average.module.eval()["decoder"]
    assert torch.linalg.matrix_norm(kept(torch.eye(6)), 2).item() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("decay", [0.0, 1.0, -1.0])
def test_a_decay_outside_0_to_1_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="decay: expected between 0 and 1"):
        AveragedWeights(nn.ModuleDict(), decay)
