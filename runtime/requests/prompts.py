"""Prompts of a request: text, or the tokens that a network reads."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.manifest import Manifest
from runtime.artifact.vocabulary import Vocabulary
from runtime.checks import as_list, short
from runtime.errors import InputError
from runtime.requests.checks import Int64Array
from runtime.sampling.streams import Counter, Stream, integers

Prompt = str | Sequence[str] | NDArray[Any]
"""One text for all images, or one for each; or tokens int64 [n, length]."""


def checked_prompts(
    manifest: Manifest, graph: str, prompt: Prompt | None, count: int
) -> Int64Array | None:
    """The tokens [count, length] of a graph that reads prompts, which must be given; InputError
    where it reads none and some are."""
    if prompt is None and manifest.graphs[graph].input("prompt") is not None:
        raise InputError("prompt", _expected(manifest.vocabulary), "none")
    return check_prompts(manifest, prompt, count)


def check_prompts(manifest: Manifest, prompt: Prompt | None, count: int) -> Int64Array | None:
    """Tokens [count, length] of prompts, one for all or one for each; None where there are none."""
    if prompt is None:
        return None
    vocabulary = manifest.vocabulary
    if vocabulary is None:
        raise InputError("prompt", f"none: {manifest.name} reads no prompts", short(prompt))
    if isinstance(prompt, str):
        rows = np.array([vocabulary.tokens(prompt)], np.int64)
    elif isinstance(prompt, np.ndarray) and prompt.dtype.kind in "iu":
        rows = _tokens(vocabulary, prompt)
    else:
        each = as_list("prompt", prompt, _expected(vocabulary))
        rows = np.array([_row(vocabulary, i, text) for i, text in enumerate(each)], np.int64)
    if len(rows) not in (1, count):
        raise InputError("prompt", f"1 or {count} prompts", f"{len(rows)}")
    return np.broadcast_to(rows, (count, vocabulary.length))


def drawn_prompts(vocabulary: Vocabulary | None, counter: Counter) -> Int64Array | None:
    """The tokens of one example an image, each as likely as the others; None without a vocabulary.
    They are drawn as labels are: no network takes both."""
    if vocabulary is None:
        return None
    chosen = integers(counter, Stream.LABEL, len(vocabulary.examples))
    return vocabulary.example_tokens[chosen]


def texts_of(vocabulary: Vocabulary | None, tokens: Int64Array | None) -> list[str] | None:
    """The words of prompts [n, length]; None where none are read."""
    if vocabulary is None or tokens is None:
        return None
    return [vocabulary.text(row) for row in tokens.tolist()]


def count_of_prompts(prompt: Prompt | None) -> int:
    """How many images are meant where no number is given: one, or one for each of several."""
    return 1 if prompt is None or isinstance(prompt, str) else len(prompt)


def _expected(vocabulary: Vocabulary | None) -> str:
    example = "" if vocabulary is None else f", such as {vocabulary.examples[0]!r}"
    return f"a text, or one for each image{example}"


def _row(vocabulary: Vocabulary, number: int, text: object) -> tuple[int, ...]:
    if not isinstance(text, str):
        raise InputError(f"prompt[{number}]", _expected(vocabulary), short(text))
    return vocabulary.tokens(text, f"prompt[{number}]")


def _tokens(vocabulary: Vocabulary, tokens: NDArray[Any]) -> Int64Array:
    most = len(vocabulary.words)
    if tokens.shape[1:] != (vocabulary.length,) or not ((tokens >= 0) & (tokens <= most)).all():
        expected = f"tokens from 0 to {most} of shape [n, {vocabulary.length}]"
        raise InputError("prompt", expected, f"others, of shape {list(tokens.shape)}")
    return tokens.astype(np.int64)
