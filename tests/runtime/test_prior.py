"""Latents from a mixture: the same on every machine and in any batch, and of its distribution."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import runtime
from runtime import ArtifactError, Model
from runtime.artifact.prior import Mixture
from runtime.artifact.reading import read_artifact
from runtime.engines.backend import normals_left
from runtime.images.encoding import encode_npz
from runtime.sampling.paths import manifold_grid
from runtime.sampling.streams import MAX_SEED, Counter, Draws, Stream, normals
from tests.tiny import mixture_arrays, replace_file, rewrite_manifest, write_artifact

REFERENCE = json.loads((Path(__file__).parent / "reference_mixture.json").read_text("utf-8"))
Arrays = dict[str, Any]


def mixture(components: int = 3, size: int = 4) -> Mixture:
    return Mixture.of(mixture_arrays(components, size), size)


@pytest.mark.parametrize("case", REFERENCE, ids=lambda case: case["name"])
def test_latents_equal_the_reference_vectors(case: dict[str, Any]) -> None:
    arrays = {
        name: np.frombuffer(bytes.fromhex(entry["hex"]), entry["dtype"]).reshape(entry["shape"])
        for name, entry in case["mixture"].items()
    }
    prior = Mixture.of(arrays, arrays["means"].shape[1])
    counter = Counter(case["seed"], case["offset"], len(case["hex"]))
    drawn = prior.latents(counter, case["truncation"])
    assert [row.tobytes().hex() for row in drawn.astype("<f4")] == case["hex"]
    assert prior.components(counter).tolist() == case["components"]


def test_the_sum_is_the_one_that_is_written_down() -> None:
    """Against Python's own floats, whose order of summation nothing can change."""
    prior, counter = mixture(3, 17), Counter(5, 100, 20)
    noise = normals(counter, Stream.LATENT, 17).tolist()
    rows = []
    for k, n in zip(prior.components(counter), noise, strict=True):
        mean, factor = prior.means[k].tolist(), prior.factors[k].tolist()
        row = mean
        for j in range(17):
            row = [value + factor[i][j] * n[j] for i, value in enumerate(row)]
        rows.append(row)
    assert prior.latents(counter).tobytes() == np.array(rows).astype(np.float32).tobytes()


@pytest.mark.parametrize("truncation", [None, 0.7])
def test_an_item_depends_on_its_number_alone(truncation: float | None) -> None:
    prior = mixture(5, 7)
    whole = prior.latents(Counter(7, 0, 40), truncation)
    for start, stop in [(0, 1), (3, 17), (39, 40)]:
        part = prior.latents(Counter(7, 0, 40).slice(start, stop), truncation)
        assert part.tobytes() == whole[start:stop].tobytes()
    seeds = prior.latents(Counter.of_seeds([7, MAX_SEED - 1, 7]), truncation)
    assert seeds[0].tobytes() == seeds[2].tobytes() == whole[0].tobytes()


def test_latents_of_several_requests_are_those_of_each_alone() -> None:
    prior = mixture(5, 6)
    segments = (
        (Counter(1, 5, 3), None),
        (Counter.of_seeds([4, 9]), None),
        (Counter(2, 0, 1), 0.7),
        (Counter(1, 0, 2), 0.7),
        (Counter(3, 0, 1), None),
    )
    alone = [prior.latents(counter, truncation) for counter, truncation in segments]
    draws = Draws((2, 3), segments, prior)
    assert np.asarray(draws).tobytes() == np.concatenate(alone).tobytes()
    assert np.asarray(draws[2:7]).tobytes() == np.concatenate(alone)[2:7].tobytes()
    assert isinstance(normals_left({"z": Draws((6,), segments)})["z"], Draws)
    assert isinstance(normals_left({"z": draws})["z"], np.ndarray)


@pytest.mark.parametrize("truncation", [None, 0.5])
def test_the_normals_are_those_of_the_standard_normal(truncation: float | None) -> None:
    counter = Counter(3, 5, 50)
    arrays = {
        "weights": np.array([0.25, 0.75]),
        "means": np.zeros((2, 6), np.float32),
        "factors": np.stack([np.eye(6, dtype=np.float32)] * 2),
    }
    drawn = Mixture.of(arrays, 6).latents(counter, truncation)
    np.testing.assert_array_equal(drawn, normals(counter, Stream.LATENT, 6, truncation))


def test_components_come_in_their_shares() -> None:
    prior = mixture(4)
    counts = np.bincount(prior.components(Counter(2, 0, 50_000)), minlength=4)
    assert stats.chisquare(counts, prior.weights * 50_000).pvalue > 1e-3


def test_each_component_has_its_mean_and_covariance() -> None:
    prior, counter = mixture(2, 3), Counter(1, 0, 60_000)
    latents, components = prior.latents(counter), prior.components(counter)
    for k in range(2):
        rows = latents[components == k]
        covariance = prior.factors[k] @ prior.factors[k].T
        error = np.sqrt(np.diag(covariance) / len(rows))
        assert (np.abs(rows.mean(axis=0) - prior.means[k]) < 5 * error).all()
        # A covariance of m normals has a standard error of about sqrt(2 / m).
        np.testing.assert_allclose(np.cov(rows.T), covariance, atol=5 * (2 / len(rows)) ** 0.5)


def test_density() -> None:
    prior = mixture(3, 5)
    points = np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32)
    parts = [
        weight * stats.multivariate_normal.pdf(points, mean, factor.astype(float) @ factor.T)
        for weight, mean, factor in zip(prior.weights, prior.means, prior.factors, strict=True)
    ]
    np.testing.assert_allclose(prior.log_density(points), np.log(np.sum(parts, axis=0)), rtol=1e-4)


def test_the_grid_has_the_marginal_quantiles() -> None:
    prior = mixture(3, 2)
    grid = manifold_grid(5, prior).reshape(5, 5, 2)
    drawn = prior.latents(Counter(0, 0, 40_000))
    shares = (0.025, 0.2625, 0.5, 0.7375, 0.975)
    for axis, along in ((0, grid[0, :, 0]), (1, grid[::-1, 0, 1])):
        found = [(drawn[:, axis] < edge).mean() for edge in along]
        np.testing.assert_allclose(found, shares, atol=0.01)
    np.testing.assert_allclose(manifold_grid(1, prior)[0, 0], grid[2, 2, 0], atol=1e-6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = write_artifact(tmp_path_factory.mktemp("mixture"), "vae", mixture=True)
    with runtime.load(folder, backend="onnxruntime", precision="fp32") as loaded:
        yield loaded


def test_a_model_samples_its_mixture(model: Model) -> None:
    prior = mixture(3, 2)
    assert model.manifest.prior == "gaussian_mixture"
    latents = model.latents(70, seed=4, truncation=0.8)
    assert latents.tobytes() == prior.latents(Counter(4, 0, 70), 0.8).tobytes()
    images = model.sample(70, seed=4, truncation=0.8)
    assert np.abs(images.astype(int) - model.decode(latents)).max() <= 1
    alone = model.sample(1, seed=4, offset=63, truncation=0.8)
    assert np.abs(images[63].astype(int) - alone[0]).max() <= 1
    streamed = np.concatenate(list(model.stream(70, seed=4, truncation=0.8)))
    assert np.abs(images.astype(int) - streamed).max() <= 1
    assert np.abs(model.manifold(3).astype(int) - model.decode(manifold_grid(3, prior))).max() <= 1


def test_other_latents_than_without_it(model: Model, tmp_path: Path) -> None:
    with runtime.load(write_artifact(tmp_path, "vae"), backend="onnxruntime") as plain:
        assert plain.prior is None
        assert not np.array_equal(plain.latents(5, seed=1), model.latents(5, seed=1))


def edited(**changes: Callable[[Any], Any]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {n: changes.get(n, lambda a: a)(a) for n, a in arrays.items()}


BROKEN: dict[str, tuple[Callable[[Arrays], Arrays], str]] = {
    "no weights": (lambda a: {k: v for k, v in a.items() if k != "weights"}, "expected weights"),
    "another array": (lambda a: a | {"more": np.zeros(1)}, "more float64"),
    "another size": (lambda a: mixture_arrays(3, 3), r"means float32 \[3, 2\]"),
    "no components": (lambda a: {k: v[:0] for k, v in a.items()}, "K at least 1"),
    "a number": (lambda a: a | {"weights": np.array(1.0)}, "expected weights float64"),
    "doubles": (edited(means=lambda a: a.astype(np.float64)), "means float32"),
    "weights of sum 2": (edited(weights=lambda a: a * 2), "expected positive ones of sum 1"),
    "a weight of 0": (
        edited(weights=lambda a: np.array([0.0, 0.5, 0.5])),
        "expected positive ones of sum 1",
    ),
    "NaN": (edited(means=lambda a: np.full_like(a, np.nan)), "means: expected finite values"),
    "infinity": (edited(factors=lambda a: np.full_like(a, np.inf)), "factors: expected finite"),
    "upper": (edited(factors=lambda a: a.transpose(0, 2, 1)), "lower triangular"),
    "negative": (edited(factors=lambda a: -a), "positive diagonals"),
}


@pytest.mark.parametrize(("change", "expected"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_mixture_is_refused(
    tmp_path: Path, change: Callable[[Arrays], Arrays], expected: str
) -> None:
    folder = write_artifact(tmp_path, "vae", mixture=True)
    replace_file(folder, "prior.npz", encode_npz(change(mixture_arrays(3, 2))))
    with pytest.raises(ArtifactError, match=rf"prior.npz.*{expected}"):
        read_artifact(folder)


def test_prior_and_file_belong_together(tmp_path: Path) -> None:
    folder = write_artifact(tmp_path, "vae", mixture=True)
    rewrite_manifest(folder, prior="standard_normal")
    with pytest.raises(ArtifactError, match="found standard_normal with it"):
        read_artifact(folder)
    plain = write_artifact(tmp_path / "plain", "vae")
    rewrite_manifest(plain, prior="gaussian_mixture")
    with pytest.raises(ArtifactError, match="found gaussian_mixture without it"):
        read_artifact(plain)


def test_memory_is_that_of_the_latents() -> None:
    prior, counter = mixture(2, 64), Counter(1, 0, 500)
    prior.latents(counter)
    tracemalloc.start()
    found = prior.latents(counter)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12 * found.nbytes  # in float64, of normals and latents, and one column
