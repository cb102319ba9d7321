"""Captions of the shapes set: what can be said of a shape, the words for it, and their tokens.

A caption is one choice of each attribute. One in ten of the combinations is held out of training:
whoever draws them well has understood the words, and not learned the captions by heart.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "size": ("small", "large"),
    "shade": ("dark", "bright"),
    "kind": ("square", "triangle", "circle"),
    "row": ("top", "", "bottom"),
    "column": ("left", "", "right"),
    "turned": ("", "turned"),
}
"""What a caption says, and the words for each value."""
HELD_OUT = 10
"""One combination in so many is held out."""
_CIRCLE = 2


@dataclass(frozen=True, eq=False)
class Captions:
    """`texts[i]` says `attributes[i]`, indices into the values of ATTRIBUTES [N, 6]; of those that
    are not `seen` [N] no picture is trained on. `tokens` int64 [N, length]: 1 for the first of
    `words`, 0 behind the last word of a text."""

    texts: tuple[str, ...]
    attributes: NDArray[np.int64]
    seen: NDArray[np.bool_]
    words: tuple[str, ...]
    tokens: NDArray[np.int64]

    @property
    def examples(self) -> tuple[str, ...]:
        """The texts that are trained on."""
        return tuple(text for text, seen in zip(self.texts, self.seen, strict=True) if seen)


@lru_cache(maxsize=1)
def shapes() -> Captions:
    """Every combination of ATTRIBUTES; a circle cannot be turned."""
    counts = [len(values) for values in ATTRIBUTES.values()]
    table = np.indices(counts).reshape(len(counts), -1).T
    table = table[~((table[:, 2] == _CIRCLE) & (table[:, 5] == 1))]
    values = list(ATTRIBUTES.values())
    texts = tuple(
        _text(*(values[place][index] for place, index in enumerate(row))) for row in table.tolist()
    )
    split = [text.replace(",", "").split() for text in texts]
    words = tuple(sorted({word for text in split for word in text}))
    tokens = np.zeros((len(texts), max(map(len, split))), np.int64)
    for row, text in zip(tokens, split, strict=True):
        row[: len(text)] = [words.index(word) + 1 for word in text]
    seen = np.ones(len(texts), bool)
    seen[np.random.default_rng(0).permutation(len(texts))[: len(texts) // HELD_OUT]] = False
    return Captions(texts, table, seen, words, tokens)


def _text(size: str, shade: str, kind: str, row: str, column: str, turned: str) -> str:
    where = " ".join(filter(None, (row, column)))
    place = f"at the {where}" if where else "in the centre"
    return f"a {size} {shade} {kind} {place}" + (f", {turned}" if turned else "")
