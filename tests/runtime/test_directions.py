"""Principal directions: those of a linear decoder are known; they are the same every time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import runtime
from runtime import InputError
from runtime.sampling.directions import MAX_DIRECTIONS, principal_directions, reduced
from tests.sized import write_sized
from tests.tiny import write_artifact

# Grey levels by which one standard deviation along each direction moves a pixel, on average.
STRENGTHS = np.array([24.0, 12.0, 6.0, 3.0])


def linear(n: int, deviations: NDArray[np.float64]) -> tuple[NDArray[Any], ...]:
    """The directions [4, 6] of a linear decoder, latents [n, 6] and their images [n, 8, 8, 1]. Two
    directions of the latents change no image."""
    generator = np.random.default_rng(0)
    basis = np.linalg.qr(generator.standard_normal((6, 6)))[0].T
    pictures = np.linalg.qr(generator.standard_normal((64, 4)))[0].T * 8 * STRENGTHS[:, None]
    coordinates = generator.standard_normal((n, 6))
    latents = (coordinates * deviations) @ basis + np.arange(6)
    images = 128 + coordinates[:, :4] @ pictures
    return basis[:4], latents, np.rint(images).clip(0, 255).astype(np.uint8).reshape(n, 8, 8, 1)


@pytest.mark.parametrize("deviations", [np.ones(6), np.array([0.5, 2.0, 1.0, 3.0, 1.0, 1.0])])
def test_those_of_a_linear_decoder(deviations: NDArray[np.float64]) -> None:
    n = 20_000 // 10
    directions, latents, images = linear(n, deviations)
    found = principal_directions(latents.astype(np.float32), images, 4)
    assert found.directions.shape == (4, 6)
    # n samples know a direction to about 1 / sqrt(n), times how much longer its neighbour is.
    cosines = np.abs((found.directions * directions).sum(axis=1))
    assert cosines.min() > 0.98
    np.testing.assert_allclose(found.deviations, deviations[:4], rtol=0.15)
    np.testing.assert_allclose(found.mean, np.arange(6), atol=4 * deviations.max() / n**0.5)


def test_they_are_orthogonal_with_a_fixed_sign() -> None:
    _, latents, images = linear(300, np.ones(6))
    found = principal_directions(latents.astype(np.float32), images).directions
    assert found.shape == (6, 6)
    np.testing.assert_allclose(found @ found.T, np.eye(6), atol=1e-5)
    for direction in found:
        assert direction[np.abs(direction).argmax()] > 0
    mirrored = principal_directions(latents.astype(np.float32), 255 - images).directions
    np.testing.assert_allclose(mirrored[:4], found[:4], atol=1e-4)


def test_images_that_are_alike_have_none() -> None:
    latents = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    found = principal_directions(latents, np.full((50, 8, 8, 3), 7, np.uint8))
    assert found.directions.shape == (0, 4)
    assert found.deviations.shape == (0,)


def test_large_images_are_averaged() -> None:
    images = np.zeros((1, 70, 130, 1), np.uint8)
    images[:, :9, :9] = 200
    small = reduced(images)
    assert small.shape == (1, 7, 14, 1)
    assert small[0, 0, 0, 0] == 200
    assert small.sum() == 200
    assert reduced(np.full((1, 16, 16, 1), 9, np.uint8)).shape == (1, 16, 16, 1)
    assert reduced(np.zeros((2, 1, 100, 3), np.uint8)).shape == (2, 1, 100, 3)


def test_a_models_directions_move_its_images(vae: runtime.Model) -> None:
    found = vae.directions(8)
    assert found.directions.shape == (2, 2), "no more than the latent has values"
    again = vae.directions(1)
    np.testing.assert_array_equal(again.directions, found.directions[:1])
    np.testing.assert_allclose(found.deviations, 1, atol=0.1)

    def moved(i: int) -> float:
        ends = found.mean + np.array([[-1.0], [1.0]]) * found.deviations[i] * found.directions[i]
        images = vae.decode(ends.astype(np.float32)).astype(float)
        return float(np.abs(images[1] - images[0]).mean())

    assert moved(0) > moved(1)


def test_a_conditional_models_are_of_one_class(conditional: runtime.Model) -> None:
    first = conditional.directions()
    assert first.directions.shape == (6, 6)
    np.testing.assert_array_equal(conditional.directions(labels="zero").mean, first.mean)
    other = conditional.directions(labels="two")
    assert not np.array_equal(other.directions, first.directions)
    with pytest.raises(InputError, match="labels: expected one class"):
        conditional.directions(labels=["zero", "one"])
    with pytest.raises(InputError, match="labels"):
        conditional.directions(labels="seven")


def test_of_the_smallest_size(tmp_path: Path) -> None:
    with runtime.load(write_sized(tmp_path), backend="onnxruntime") as model:
        found = model.directions()
        assert found.directions.shape == (8, 2, 2, 2)
        assert found.samples == 512
    with (
        runtime.load(write_sized(tmp_path / "none", prior="none"), backend="onnxruntime") as model,
        pytest.raises(InputError, match="model: expected one with latents and a prior"),
    ):
        model.directions()


def test_a_mixture_has_directions_in_its_own_scale(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path, "plain", mixture=True)
    with runtime.load(artifact, backend="onnxruntime") as model:
        found = model.directions(MAX_DIRECTIONS)
        along = (model.latents(1000, seed=1) - found.mean) @ found.directions.T
    np.testing.assert_allclose(along.std(axis=0), found.deviations, rtol=0.15)
