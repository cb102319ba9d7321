"""Whether each latent dimension follows one factor of variation, where the factors are known."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def latent_information(
    latents: ArrayLike, factors: ArrayLike, bins: int = 20
) -> NDArray[np.float64]:
    """Mutual information of each latent dimension with each factor, in nats: [Z, F].

    latents [N, Z], cut into `bins` of equal counts; factors [N, F], integers. The plug-in estimate
    of the histogram: too high by about (bins - 1) (values - 1) / 2N nats (Miller 1955).
    """
    latents, factors = np.asarray(latents, dtype=np.float64), np.asarray(factors)
    if latents.ndim != 2 or factors.ndim != 2 or len(latents) != len(factors):
        raise ValueError(
            f"latents, factors: expected [N, Z] and [N, F], "
            f"found {list(latents.shape)} and {list(factors.shape)}"
        )
    edges = np.quantile(latents, np.arange(1, bins) / bins, axis=0)
    codes = [np.searchsorted(edges[:, z], latents[:, z]) for z in range(latents.shape[1])]
    return np.array([[_mutual_information(code, factor) for factor in factors.T] for code in codes])


def mutual_information_gap(information: ArrayLike, factors: ArrayLike) -> float:
    """Mean over the factors of the gap between the two largest informations of a latent dimension
    about the factor, as a share of the factor's entropy: 1 where one dimension determines each
    factor and no other holds any information about it.

    information [Z, F] in nats, factors [N, F], integers. Chen et al. (2018), arXiv:1802.04942,
    section 4, here from histograms of the posterior means, as Locatello et al. (2019),
    arXiv:1811.12359, have it.
    """
    information, factors = np.asarray(information, dtype=np.float64), np.asarray(factors)
    if information.ndim != 2 or len(information) < 2 or information.shape[1] != factors.shape[1]:
        raise ValueError(
            f"information: expected [Z, {factors.shape[1]}] with Z at least 2, "
            f"found {list(information.shape)}"
        )
    second, first = np.sort(information, axis=0)[-2:]
    entropy = np.array([_mutual_information(factor, factor) for factor in factors.T])
    if not entropy.all():
        raise ValueError("factors: expected every factor to vary, found a constant one")
    return float(((first - second) / entropy).mean())


def _mutual_information(a: NDArray, b: NDArray) -> float:
    """Of two rows of integers [N], in nats; of a row with itself: its entropy."""
    (_, a), (_, b) = (np.unique(row, return_inverse=True) for row in (a, b))
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1 / len(a))
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / independent[seen])).sum())
