"""PSNR, SSIM and L1 against known answers."""

import math

import numpy as np
import pytest

from train import metrics

BLACK = np.zeros((2, 16, 20, 3), np.uint8)


def _random(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (2, 16, 20, 3)).astype(np.uint8)


def test_l1_is_a_mean_over_all_values() -> None:
    made = BLACK.copy()
    made[0] += 10
    assert metrics.mean_absolute(made, BLACK) == 5.0
    assert metrics.mean_absolute(BLACK, made) == 5.0  # bytes would wrap
    assert metrics.mean_absolute(made + np.uint8(30), BLACK + np.uint8(30)) == 5.0


def test_psnr_follows_from_the_squares_of_each_picture() -> None:
    made = BLACK.copy()
    made[0] += 255
    made[1] += 51
    # 0 dB for a white picture of a black one; 20 log10(5) for a fifth of that.
    assert metrics.psnr(made, BLACK) == pytest.approx(20 * math.log10(5) / 2)
    assert metrics.psnr(made[:1], BLACK[:1]) == pytest.approx(0, abs=1e-9)


def test_psnr_of_equal_pictures_is_large_and_finite() -> None:
    near = BLACK.copy()
    near[:, 0, 0, 0] = 1
    assert metrics.psnr(near, BLACK) < metrics.psnr(BLACK, BLACK) < 100


def test_ssim_of_flat_pictures_has_a_closed_form() -> None:
    low, high = np.full_like(BLACK, 50), np.full_like(BLACK, 150)
    c1 = (0.01 * 255) ** 2
    expected = (2 * 50 * 150 + c1) / (50**2 + 150**2 + c1)
    assert metrics.ssim(low, high) == pytest.approx(expected)


def test_ssim_is_one_for_equal_pictures_and_low_for_others() -> None:
    one, other = _random(0), _random(1)
    assert metrics.ssim(one, one) == pytest.approx(1)
    assert abs(metrics.ssim(one, other)) < 0.1
    assert metrics.ssim(one, 255 - one) < -0.9


def test_ssim_is_the_mean_of_its_formula_over_all_windows() -> None:
    """Summed window by window, with weights written out."""
    one, other = (array[:1, :, :, :1].astype(float) for array in (_random(0), _random(2)))
    other = np.rint(0.7 * one + 0.3 * other)
    away = np.arange(-5, 6)
    weights = np.exp(-(away[:, None] ** 2 + away**2) / (2 * 1.5**2))
    weights /= weights.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for top in range(16 - 10):
        for left in range(20 - 10):
            x, y = (a[0, top : top + 11, left : left + 11, 0] for a in (one, other))
            mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
            var_x = (weights * (x - mean_x) ** 2).sum()
            var_y = (weights * (y - mean_y) ** 2).sum()
            covariance = (weights * (x - mean_x) * (y - mean_y)).sum()
            above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
            values.append(above / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)))
    found = metrics.ssim(one.astype(np.uint8), other.astype(np.uint8))
    assert found == pytest.approx(np.mean(values), rel=1e-9)
    assert 0.5 < found < 0.95


def test_pictures_of_another_shape_or_type_are_refused() -> None:
    with pytest.raises(ValueError, match="expected uint8 of one shape"):
        metrics.psnr(BLACK, BLACK[:1])
    with pytest.raises(ValueError, match="expected uint8 of one shape"):
        metrics.ssim(BLACK, BLACK.astype(float))
    with pytest.raises(ValueError, match="sides of at least 11"):
        metrics.ssim(BLACK[:, :10], BLACK[:, :10])
