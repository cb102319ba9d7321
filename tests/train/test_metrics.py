"""Estimators against cases with a known answer."""

import math

import numpy as np
import pytest

from train import metrics
from train.metrics import samples


def _whitened(generator: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Points whose sample mean is 0 and whose sample covariance is exactly the identity."""
    points = generator.standard_normal((n, d))
    points -= points.mean(axis=0)
    q, _ = np.linalg.qr(points)
    return q * math.sqrt(n - 1)


def test_frechet_distance_has_the_closed_form_of_commuting_covariances() -> None:
    generator = np.random.default_rng(0)
    spread_a, spread_b = np.array([1.0, 2.0, 0.5]), np.array([3.0, 1.0, 0.0])
    shift = np.array([1.0, -2.0, 0.5])
    turn, _ = np.linalg.qr(generator.standard_normal((3, 3)))
    a = (_whitened(generator, 400, 3) * spread_a) @ turn
    b = (_whitened(generator, 300, 3) * spread_b + shift) @ turn
    # For covariances with common axes: |shift|^2 + the squared differences of the spreads.
    expected = shift @ shift + ((spread_a - spread_b) ** 2).sum()
    # The sets have exactly these moments, so only float64 rounding is left; the zero spread's
    # root takes half of the digits.
    assert metrics.frechet_distance(a, b) == pytest.approx(expected, abs=1e-6)
    assert metrics.frechet_distance(b, a) == pytest.approx(expected, abs=1e-6)


def test_frechet_distance_has_the_closed_form_of_covariances_that_do_not_commute() -> None:
    generator = np.random.default_rng(1)
    root_a = np.array([[2.0, 0.3], [0.3, 1.0]])
    root_b = np.array([[1.0, -0.4], [-0.4, 3.0]])
    a, b = _whitened(generator, 50, 2) @ root_a, _whitened(generator, 50, 2) @ root_b
    covariance_a, covariance_b = root_a @ root_a, root_b @ root_b
    # 2x2: tr M^(1/2) = sqrt(tr M + 2 sqrt(det M)) with M = A B.
    product = covariance_a @ covariance_b
    cross = math.sqrt(np.trace(product) + 2 * math.sqrt(np.linalg.det(product)))
    expected = np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross
    assert metrics.frechet_distance(a, b) == pytest.approx(expected, abs=1e-9)


def test_frechet_distance_of_a_set_to_itself_is_zero_even_with_fewer_points_than_features() -> None:
    a = np.random.default_rng(2).standard_normal((20, 64)).astype(np.float32)
    # Singular covariances: the roots of rounding errors, 1e-8 each, over 64 features.
    assert metrics.frechet_distance(a, a) == pytest.approx(0, abs=1e-5)


def test_frechet_distance_of_two_draws_shrinks_with_their_number() -> None:
    generator = np.random.default_rng(3)
    small, large = (
        metrics.frechet_distance(generator.normal(size=(n, 16)), generator.normal(size=(n, 16)))
        for n in (200, 3200)
    )
    assert 0 < large < small / 8  # the bias goes as 1 / n: 16 times smaller, give or take


def test_mean_pairwise_distance_of_a_known_triangle() -> None:
    assert metrics.mean_pairwise_distance([[0, 0], [3, 0], [0, 4]]) == pytest.approx(4.0)


def test_mean_pairwise_distance_of_normals_is_that_of_two_draws() -> None:
    points = np.random.default_rng(4).standard_normal((1500, 2))
    # |x - y| of two draws from N(0, I) in the plane is Rayleigh with scale sqrt 2: mean sqrt pi.
    # Standard error 0.017 (twelve seeds); three of them.
    assert metrics.mean_pairwise_distance(points) == pytest.approx(math.sqrt(math.pi), abs=0.05)


def test_mean_pairwise_distance_sees_a_collapse() -> None:
    one_image = np.full((50, 3072), 131, np.uint8)
    assert metrics.mean_pairwise_distance(one_image) == 0


def test_pairwise_estimators_do_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(5)
    a, b = generator.normal(size=(40, 3)), generator.normal(size=(60, 3))
    whole = (
        metrics.mean_pairwise_distance(a),
        metrics.nearest_neighbours(a, b)[0].tolist(),
        metrics.density_coverage(a, b),
        metrics.precision_recall(a, b),
    )
    monkeypatch.setattr(samples, "_CHUNK_VALUES", 130)
    chunked = (
        metrics.mean_pairwise_distance(a),
        metrics.nearest_neighbours(a, b)[0].tolist(),
        metrics.density_coverage(a, b),
        metrics.precision_recall(a, b),
    )
    assert chunked[0] == pytest.approx(whole[0], rel=1e-12)
    assert chunked[1:] == whole[1:]


def test_nearest_neighbours_finds_copies_at_distance_zero() -> None:
    generator = np.random.default_rng(6)
    images = generator.integers(0, 256, (200, 784), dtype=np.uint8)
    chosen = np.array([7, 199, 0, 42])
    indices, distances = metrics.nearest_neighbours(images[chosen], images)
    assert indices.tolist() == chosen.tolist()
    assert distances.tolist() == [0, 0, 0, 0]


def test_nearest_neighbours_measures_euclidean_distance() -> None:
    indices, distances = metrics.nearest_neighbours([[0.0, 0.0], [9.0, 0.0]], [[3, 4], [10, 0]])
    assert indices.tolist() == [0, 1]
    assert distances == pytest.approx([5, 1])


def test_density_and_coverage_of_one_distribution_are_near_their_expected_values() -> None:
    generator = np.random.default_rng(7)
    real, generated = generator.normal(size=(2, 1500, 4))
    density, coverage = metrics.density_coverage(generated, real)
    # Naeem et al., equation 9: 1 and 1 - (n - 1)...(n - k) / (2n - 1)...(2n - k), about 1 - 2^-5.
    # Standard errors 0.018 and 0.005 (twelve seeds).
    assert density == pytest.approx(1.0, abs=0.08)
    assert coverage == pytest.approx(1 - 2**-5, abs=0.02)


def test_coverage_counts_missing_modes_and_density_does_not() -> None:
    generator = np.random.default_rng(8)
    real = generator.normal(size=(400, 2)) + np.repeat([[0.0], [100.0]], 200, axis=0)
    one_mode = generator.normal(size=(400, 2))
    density, coverage = metrics.density_coverage(one_mode, real)
    assert coverage == pytest.approx(0.5, abs=0.05)
    assert density > 0.9
    assert metrics.density_coverage(one_mode + 1000, real) == (0, 0)


def test_precision_and_recall_of_points_on_a_line() -> None:
    # Nearest neighbours at 1, 1 and 3: the real set is [-1, 7]. At 7, 6 and 6: the generated one is
    # [-12, 14].
    assert metrics.precision_recall([[2], [8], [-5]], [[0], [1], [4]], 1) == (1 / 3, 1)
    assert metrics.precision_recall([[0], [1], [4]], [[2], [8], [-5]], 1) == (1, 1 / 3)


def test_a_dropped_mode_costs_recall_and_noise_costs_precision() -> None:
    generator = np.random.default_rng(14)
    modes = [generator.normal(size=(n, 3)) + 100 * mode for mode, n in enumerate((150, 50))]
    real = np.concatenate(modes)
    assert metrics.precision_recall(modes[0], real) == (1, 0.75)
    assert metrics.precision_recall(real, modes[0]) == (0.75, 1)
    assert metrics.precision_recall(real, real) == (1, 1)
    assert metrics.precision_recall(real + 1000, real) == (0, 0)


def test_precision_and_recall_of_one_distribution_are_below_one() -> None:
    first, second = np.random.default_rng(15).normal(size=(2, 800, 8))
    precision, recall = metrics.precision_recall(first, second)
    # No closed form; standard error 0.02, and neither set is the generated one.
    assert precision == pytest.approx(recall, abs=0.08)
    assert 0.5 < precision < 0.95


def test_class_shares() -> None:
    assert metrics.class_shares([0, 2, 2, 0], 4).tolist() == [0.5, 0, 0.5, 0]
    with pytest.raises(ValueError, match="expected \\[N\\] integers from 0 to 3"):
        metrics.class_shares([4], 4)


def test_mode_coverage_of_known_shares() -> None:
    assert metrics.mode_coverage(np.arange(60) % 20, 20) == (20, pytest.approx(0, abs=1e-12))
    assert metrics.mode_coverage(np.full(60, 7), 20) == (1, pytest.approx(math.log(20)))
    # Half of the modes, one of them as often as all others together.
    modes = np.concatenate([np.arange(10), np.zeros(8, np.int64)])
    expected = 0.5 * math.log(0.5 * 20) + 0.5 * math.log(0.5 / 9 * 20)
    assert metrics.mode_coverage(modes, 20) == (10, pytest.approx(expected))


def test_mode_coverage_of_uniform_draws_is_its_finite_sample_floor() -> None:
    modes = np.random.default_rng(9).integers(0, 1000, 26_000)
    covered, kl = metrics.mode_coverage(modes, 1000)
    assert covered == 1000
    # 2 N KL is chi-squared with 999 degrees of freedom: mean 0.0192, deviation 0.00086 nats.
    assert kl == pytest.approx(999 / 52_000, abs=4 * 0.00086)


def test_bad_arrays_are_named() -> None:
    with pytest.raises(ValueError, match=r"b: expected 2 features as in a, found 3"):
        metrics.frechet_distance(np.zeros((4, 2)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"points: expected \[N, D\] with N at least 2, found"):
        metrics.mean_pairwise_distance(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="a: expected finite values"):
        metrics.frechet_distance([[0.0], [math.nan]], [[0.0], [1.0]])
    with pytest.raises(ValueError, match=r"real: expected \[N, D\] with N at least 6"):
        metrics.density_coverage(np.zeros((9, 2)), np.zeros((5, 2)))
    with pytest.raises(ValueError, match=r"generated: expected \[N, D\] with N at least 4"):
        metrics.precision_recall(np.zeros((3, 2)), np.zeros((5, 2)))


def _log_normal(distance: np.ndarray, root: np.ndarray) -> np.ndarray:
    """log N(distance; 0, root root^T) of rows [..., D]."""
    squares = (np.linalg.solve(root, distance[..., None])[..., 0] ** 2).sum(-1)
    return -0.5 * (squares + len(root) * math.log(2 * math.pi)) - np.linalg.slogdet(root)[1]


def _log_weights(seed: int, spread: float, shape: tuple[int, int]) -> tuple[np.ndarray, float]:
    """log p(x, z) - log q(z) in x = W z + noise with z ~ N(0, I), and the exact log p(x).

    q is the true posterior with its deviations `spread` times as wide.
    """
    generator = np.random.default_rng(seed)
    weight, noise, prior = generator.normal(size=(6, 2)), 0.7 * np.eye(6), np.eye(2)
    x = weight @ generator.normal(size=2) + noise @ generator.normal(size=6)
    exact = _log_normal(x, np.linalg.cholesky(weight @ weight.T + noise @ noise))
    covariance = np.linalg.inv(prior + weight.T @ weight / 0.7**2)
    mean, root = covariance @ weight.T @ x / 0.7**2, spread * np.linalg.cholesky(covariance)
    z = mean + generator.normal(size=(*shape, 2)) @ root.T
    log_joint = _log_normal(x - z @ weight.T, noise) + _log_normal(z, prior)
    return log_joint - _log_normal(z - mean, root), float(exact)


def test_the_bound_is_exact_where_q_is_the_true_posterior() -> None:
    weights, exact = _log_weights(9, 1.0, (5, 3))
    assert metrics.importance_weighted_bound([weights]) == pytest.approx(exact, abs=1e-9)
    assert metrics.importance_weighted_bound([weights[:, :1]]) == pytest.approx(exact, abs=1e-9)


def test_the_bound_rises_to_the_exact_likelihood() -> None:
    weights, exact = _log_weights(10, 2.0, (400, 1000))
    means = [metrics.importance_weighted_bound([weights[:, :k]]).mean() for k in (1, 5, 50, 1000)]
    # KL(q || posterior) for twice the deviation, two dimensions: 2 (2^2 - 1 - ln 2^2) / 2.
    assert means[0] == pytest.approx(exact - (3 - math.log(4)), abs=0.4)
    assert means == sorted(means)
    # Its bias goes as the weights' variance / 2k: 0.001 at k = 1000.
    assert means[0] < exact - 1
    assert means[-1] == pytest.approx(exact, abs=0.01)


def test_the_bound_does_not_depend_on_the_chunks_and_survives_tiny_weights() -> None:
    weights, _ = _log_weights(11, 2.0, (3, 100))
    whole = metrics.importance_weighted_bound([weights])
    parts = np.split(weights, [1, 40, 99], axis=1)
    assert metrics.importance_weighted_bound(iter(parts)) == pytest.approx(whole, abs=1e-12)
    far = metrics.importance_weighted_bound([weights.astype(np.float32) - 1e5])
    assert far == pytest.approx(whole - 1e5, abs=0.02)  # float32 at 1e5: steps of 0.008
    with pytest.raises(ValueError, match="expected at least one chunk"):
        metrics.importance_weighted_bound([])
    with pytest.raises(ValueError, match=r"expected chunks \[B, k\]"):
        metrics.importance_weighted_bound([[1.0, 2.0]])


def _factors(generator: np.random.Generator) -> np.ndarray:
    """Two factors of 4 and 5 values, each combination 1,000 times: [20,000, 2]."""
    return generator.permutation(np.indices((4, 5, 1000)).reshape(3, -1).T)[:, :2]


def test_the_gap_is_one_where_each_factor_has_a_latent_of_its_own() -> None:
    generator = np.random.default_rng(12)
    factors = _factors(generator)
    noise = generator.normal(size=(20_000, 1))
    latents = np.concatenate([-factors[:, 1:], factors[:, :1] ** 2, noise], axis=1)
    information = metrics.latent_information(latents + 0.01 * noise, factors)
    entropy = [math.log(4), math.log(5)]
    # Chance: (20 - 1) (5 - 1) / 2N = 0.002 nats of information that is not there.
    expected = [[0, entropy[1]], [entropy[0], 0], [0, 0]]
    assert information == pytest.approx(np.array(expected), abs=0.005)
    assert metrics.mutual_information_gap(information, factors) == pytest.approx(1, abs=0.01)


def test_the_gap_is_zero_where_two_latents_tell_the_same_or_none_tells_anything() -> None:
    generator = np.random.default_rng(13)
    factors = _factors(generator)
    twice = np.concatenate([factors, factors], axis=1).astype(float)
    information = metrics.latent_information(twice, factors)
    assert metrics.mutual_information_gap(information, factors) == pytest.approx(0, abs=0.005)
    noise = metrics.latent_information(generator.normal(size=(20_000, 3)), factors)
    assert metrics.mutual_information_gap(noise, factors) == pytest.approx(0, abs=0.005)


def test_a_latent_that_tells_a_pair_apart_knows_its_logarithm() -> None:
    factors = np.arange(8).repeat(100)[:, None]
    information = metrics.latent_information((factors >= 4).astype(float), factors, bins=2)
    assert information == pytest.approx(math.log(2), abs=1e-9)


def test_factors_must_vary_and_fit() -> None:
    with pytest.raises(ValueError, match="expected every factor to vary"):
        metrics.mutual_information_gap(np.ones((2, 1)), np.zeros((5, 1), int))
    with pytest.raises(ValueError, match=r"expected \[Z, 1\] with Z at least 2, found \[1, 1\]"):
        metrics.mutual_information_gap(np.ones((1, 1)), np.zeros((5, 1), int))
    with pytest.raises(ValueError, match=r"expected \[N, Z\] and \[N, F\]"):
        metrics.latent_information(np.ones((4, 1)), np.zeros((5, 1), int))
