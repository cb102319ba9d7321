"""Whether a picture shows what was asked for, attribute by attribute."""

import numpy as np
from numpy.typing import ArrayLike


def share_right(found: ArrayLike, asked: ArrayLike) -> float:
    """The share of rows of `found` [N, A] in which all A attributes are those of `asked` [N, A],
    integers: one that is wrong makes the row wrong."""
    found, asked = np.asarray(found), np.asarray(asked)
    if found.ndim != 2 or found.shape != asked.shape or not len(found):
        raise ValueError(
            f"found, asked: expected two [N, A] with N at least 1, "
            f"found {list(found.shape)} and {list(asked.shape)}"
        )
    return float((found == asked).all(axis=1).mean())
