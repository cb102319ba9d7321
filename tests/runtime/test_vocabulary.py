"""Prompts as tokens: what is read, and what is refused with the word and what is expected."""

import numpy as np
import pytest
from pydantic import ValidationError

from runtime.artifact.tensors import GraphSpec, TensorSpec, check_signature
from runtime.artifact.vocabulary import Vocabulary
from runtime.errors import InputError

WORDS = Vocabulary(words=("a", "red", "square"), length=4, examples=("a red square", "red"))


def test_words_have_their_numbers_and_zeros_fill_up() -> None:
    assert WORDS.tokens("a red square") == (1, 2, 3, 0)
    assert WORDS.tokens("  Square, RED.\n") == (3, 2, 0, 0)
    assert WORDS.text((1, 2, 3, 0)) == "a red square"
    np.testing.assert_array_equal(WORDS.example_tokens, [[1, 2, 3, 0], [2, 0, 0, 0]])


@pytest.mark.parametrize(
    ("prompt", "expected", "found"),
    [
        ("a purple square", "words among a, red, square", "'purple'"),
        ("", "words among a, red, square", "no word"),
        (" ,. ", "words among a, red, square", "no word"),
        ("a a a a a", "at most 4 words", "5"),
    ],
)
def test_what_cannot_be_read_is_refused(prompt: str, expected: str, found: str) -> None:
    with pytest.raises(InputError) as error:
        WORDS.tokens(prompt)
    assert (error.value.field, error.value.expected, error.value.found) == (
        "prompt", expected, found,
    )  # fmt: skip


def test_a_long_list_of_words_and_a_long_word_are_cut_short() -> None:
    many = tuple(f"w{i}" for i in range(500))
    with pytest.raises(InputError) as error:
        Vocabulary(words=many, length=1, examples=("w0",)).tokens("x" * 10_000)
    assert len(str(error.value)) < 600
    assert "w59, ..." in error.value.expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"words": ("a", "a")}, "found one twice"),
        ({"words": ("a", "Red")}, "found 'Red'"),
        ({"words": ("a", "two words")}, "found 'two words'"),
        ({"examples": ("a blue square",)}, "examples\\[0\\]: expected words among"),
        ({"examples": ()}, "at least 1 item"),
    ],
)
def test_a_vocabulary_that_contradicts_itself_is_refused(
    changes: dict[str, object], message: str
) -> None:
    given = {"words": ("a", "red"), "length": 4, "examples": ("a",)} | changes
    with pytest.raises(ValidationError, match=message):
        Vocabulary.model_validate(given)


def _spec(*inputs: TensorSpec, made: TensorSpec) -> GraphSpec:
    return GraphSpec("decode.onnx", "fp32", inputs, (made,))


LATENTS = TensorSpec(name="latents", role="latents", dtype="float32", shape=(4,))
IMAGES = TensorSpec(name="images", role="images", dtype="uint8", shape=(8, 8, 1))


def test_a_prompt_is_one_row_of_integers() -> None:
    prompt = TensorSpec(name="prompt", role="prompt", dtype="int64", shape=(5,))
    check_signature("decode", _spec(LATENTS, prompt, made=IMAGES))
    for change in ({"dtype": "float32"}, {"shape": ()}, {"shape": (5, 2)}):
        wrong = prompt.model_copy(update=change)
        with pytest.raises(ValueError, match=r"prompt \(prompt\): expected int64 with 1 axes"):
            check_signature("decode", _spec(LATENTS, wrong, made=IMAGES))


def test_a_volume_has_layers_and_one_channel() -> None:
    volume = TensorSpec(name="volume", role="volume", dtype="uint8", shape=(6, 8, 8, 1))
    check_signature("decode", _spec(LATENTS, made=volume))
    for shape, message in (((8, 8, 1), "expected uint8 with 4 axes"), ((6, 8, 8, 3), "1 channels")):
        wrong = volume.model_copy(update={"shape": shape})
        with pytest.raises(ValueError, match=message):
            check_signature("decode", _spec(LATENTS, made=wrong))
