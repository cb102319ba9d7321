"""How likely held-out images are under a latent-variable model: a bound that tightens with work."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray


def importance_weighted_bound(log_weights: Iterable[ArrayLike]) -> NDArray[np.float64]:
    """L_k = log (1/k) sum_i w_i <= log p(x) in nats, [B], from log w_i = log p(x, z_i) -
    log q(z_i | x) with z_i drawn from q: chunks [B, any], k values an image in all.

    Burda et al. (2016), arXiv:1509.00519, eq. 8. Its expectation grows with k (theorem 1) and
    reaches log p(x); it is exact at k = 1 where q is the true posterior. In float64, so that the
    sum does not depend on how it is cut into chunks.
    """
    total, count = None, 0
    for chunk in log_weights:
        values = np.asarray(chunk, dtype=np.float64)
        if values.ndim != 2 or not values.shape[1] or np.isnan(values).any():
            raise ValueError(
                f"log_weights: expected chunks [B, k], k at least 1, without NaN, "
                f"found {list(values.shape)}"
            )
        part = np.logaddexp.reduce(values, axis=1)
        total = part if total is None else np.logaddexp(total, part)
        count += values.shape[1]
    if total is None:
        raise ValueError("log_weights: expected at least one chunk, found none")
    return total - np.log(count)
