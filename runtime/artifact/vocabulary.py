"""Prompts: the words that an artifact's networks read, and the tokens that stand for them."""

import re
from collections.abc import Iterable, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from runtime.artifact.tensors import Frozen
from runtime.errors import InputError

_BETWEEN = re.compile(r"[\s,.;:!?]+")
_MAX_TOKENS = 1 << 20
_SHOWN = 60
"""Words that an error lists at most."""


def words_of(prompt: str) -> list[str]:
    """A text as words: upper case and punctuation between words do not count."""
    return [word for word in _BETWEEN.split(prompt.casefold()) if word]


class Vocabulary(Frozen):
    """The prompts of an artifact. Word i of `words` has the token i + 1; tokens 0 fill up a prompt
    that has fewer words than `length`."""

    words: tuple[str, ...] = Field(min_length=1, max_length=1 << 16)
    length: int = Field(ge=1, le=1 << 10)
    """The words that a prompt has at most."""
    examples: tuple[str, ...] = Field(min_length=1, max_length=1 << 16)
    """Prompts that the network knows; an image for which none is given has one of them."""

    @model_validator(mode="after")
    def _consistent(self) -> "Vocabulary":
        odd = [word for word in self.words if words_of(word) != [word]]
        if odd or len(self._numbers) != len(self.words):
            raise ValueError(
                "words: expected distinct words in lower case without spaces and punctuation, "
                f"found {odd[0]!r}"
                if odd
                else "words: expected distinct words, found one twice"
            )
        if len(self.examples) * self.length > _MAX_TOKENS:
            raise ValueError(
                f"examples: expected at most {_MAX_TOKENS} tokens together, found "
                f"{len(self.examples)} examples of {self.length}"
            )
        try:
            _ = self.example_tokens
        except InputError as error:
            raise ValueError(str(error)) from None
        return self

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        return {word: number for number, word in enumerate(self.words, 1)}

    @cached_property
    def example_tokens(self) -> NDArray[np.int64]:
        """The tokens of all examples: [n, length]."""
        rows = [self.tokens(text, f"examples[{i}]") for i, text in enumerate(self.examples)]
        return np.array(rows, np.int64)

    def tokens(self, prompt: str, field: str = "prompt") -> tuple[int, ...]:
        """The `length` tokens of a text; InputError where it has a word that is not known, none, or
        too many."""
        words = words_of(prompt)
        unknown = next((word for word in words if word not in self._numbers), None)
        if unknown is not None or not words:
            found = "no word" if unknown is None else repr(unknown[:100])
            raise InputError(field, f"words among {self._listed()}", found)
        if len(words) > self.length:
            raise InputError(field, f"at most {self.length} words", f"{len(words)}")
        numbers = [self._numbers[word] for word in words]
        return (*numbers, *[0] * (self.length - len(words)))

    def text(self, tokens: Iterable[int]) -> str:
        """The words that tokens stand for, with spaces between."""
        return " ".join(self.words[token - 1] for token in tokens if token)

    def _listed(self) -> str:
        more = ", ..." if len(self.words) > _SHOWN else ""
        return ", ".join(self.words[:_SHOWN]) + more
