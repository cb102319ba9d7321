"""The options of requests, as closed pydantic models: the types and the fields that the endpoints
share.

They check form: types, bounds, unknown fields, and that no list is longer than the images that the
service makes for one request. What depends on a model (its labels, the shape of its latents) is
checked by `runtime`; how many images a request may have depends on the reply's format.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Annotated, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from bento.exchange.replies import PICTURE_REPLIES
from runtime import InputError
from runtime.checks import short
from runtime.images.layout import DEFAULT_FPS, MAX_FPS, MAX_SCALE, Layout
from runtime.requests.checks import MAX_TRUNCATION
from runtime.sampling.streams import MAX_SEED

# More dimensions than any latent has; each level of lists is one.
_MAX_DEPTH = 16


@dataclass(frozen=True)
class OneOf:
    """In an annotation: a string that is one of `names`."""

    names: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.literal_schema(list(self.names))


Seed = Annotated[int, Field(ge=0, lt=MAX_SEED)]


def _check_count(count: int, info: ValidationInfo) -> int:
    limit = cast(int, info.context)
    if count > limit:
        field = info.field_name or "body"
        raise InputError(field, f"at most {limit} images a request", short(count))
    return count


def check_length(value: Any, info: ValidationInfo) -> Any:
    """A list with one item an image: its length is looked at before its items."""
    if isinstance(value, list):
        _check_count(len(cast(list[Any], value)), info)
    return cast(Any, value)


def _check_pair(value: Any, info: ValidationInfo) -> list[int]:
    """Two integers: of a JSON list, or the digits of a query string."""
    pair = cast(list[Any], value) if isinstance(value, list) else [value]
    numbers: list[Any] = [
        int(v) if isinstance(v, str) and v.isascii() and v.isdecimal() else v for v in pair
    ]
    if len(numbers) != 2 or any(type(number) is not int for number in numbers):
        field = info.field_name or "body"
        raise InputError(field, "[height, width], two integers", short(cast(object, value)))
    return numbers


Count = Annotated[int, AfterValidator(_check_count)]
SizePair = Annotated[
    Any,
    PlainValidator(_check_pair),
    WithJsonSchema({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}),
]
"""[height, width]; `runtime` checks which of them the model takes."""
Truncation = Annotated[float, Field(gt=0, le=MAX_TRUNCATION)]
Seeds = Annotated[list[Seed], Field(fail_fast=True), BeforeValidator(check_length)]


def _check_labels(value: Any) -> Any:
    many = cast(list[Any], value) if isinstance(value, list) else [value]
    for label in many:
        if isinstance(label, bool) or not isinstance(label, str | int):
            expected = "a class by name or index, or a list of them"
            raise InputError("labels", expected, short(cast(object, label)))
    if not many:
        raise InputError("labels", "at least one label", "none")
    return cast(Any, value)


_LABEL_SCHEMA: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "integer"}]}
Labels = Annotated[
    Any,
    PlainValidator(_check_labels),
    BeforeValidator(check_length),
    WithJsonSchema({"anyOf": [*_LABEL_SCHEMA["anyOf"], {"type": "array", "items": _LABEL_SCHEMA}]}),
]


def _check_prompts(value: Any, info: ValidationInfo) -> Any:
    many = cast(list[Any], value) if isinstance(value, list) else [value]
    for prompt in many:
        if not isinstance(prompt, str):
            field = info.field_name or "body"
            raise InputError(field, "a text, or a list of them", short(cast(object, prompt)))
    if not many:
        raise InputError(info.field_name or "body", "at least one prompt", "none")
    length = sum(map(len, cast(list[str], many)))
    if length > _MAX_TEXT:  # they are read on the event loop
        field = info.field_name or "body"
        raise InputError(field, f"at most {_MAX_TEXT} characters together", str(length))
    return cast(Any, value)


_MAX_TEXT = 1 << 18
_TEXT: dict[str, Any] = {"type": "string"}
Prompts = Annotated[
    Any,
    PlainValidator(_check_prompts),
    BeforeValidator(check_length),
    WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}),
]
"""One text for all images, or one for each; several are JSON in a query. `runtime` reads them."""


def _to_array(value: Any, info: ValidationInfo) -> NDArray[np.float64]:
    # Here, where the parsing is, because it may take long and belongs into the same thread.
    field = info.field_name or "body"
    _check_numbers(field, value)
    try:
        return np.array(value, np.float64)
    except OverflowError:
        raise InputError(field, "numbers within float64", "a larger integer") from None


def _check_numbers(field: str, value: Any) -> None:
    """Refuse all but nested lists of numbers before anything is allocated for them: NumPy would
    make an array of the longest of a thousand strings."""
    expected = "nested lists of numbers, all of one length at each depth"
    if not isinstance(value, list):
        raise InputError(field, expected, short(value))
    level, depth = [cast(list[Any], value)], 0
    while (kinds := set(map(type, level))) == {list}:
        depth += 1
        if len(set(map(len, level))) > 1 or depth > _MAX_DEPTH:
            found = "lists of several lengths" if depth <= _MAX_DEPTH else "more depths"
            raise InputError(field, expected, found)
        level = list(chain.from_iterable(level))
    if not kinds <= {int, float}:
        raise InputError(field, expected, ", ".join(sorted(kind.__name__ for kind in kinds)))


Numbers = Annotated[Any, PlainValidator(_to_array), WithJsonSchema({"type": "array", "items": {}})]
"""Nested lists of numbers, as an array float64. Only a JSON body holds them."""


class ModelOptions(BaseModel):
    """Which model answers: an option of every request."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str | None = Field(
        default=None,
        max_length=200,
        description="Name, or name@version; without it the first by name.",
    )


class Options(ModelOptions):
    """The options of every endpoint."""

    labels: Labels | None = Field(
        default=None,
        description="For conditional models: one class for all images or one for each, by name "
        "or index.",
    )


class PromptOptions(Options):
    """The options of what reads a prompt."""

    prompt: Prompts | None = Field(
        default=None,
        description="For models that read prompts: one text for all images, or a list with one "
        "for each. Which words a model knows, `GET /models/{model}` says.",
    )


class PictureOptions(Options):
    """The options of endpoints that return images."""

    format: Annotated[str, OneOf(tuple(PICTURE_REPLIES))] | None = Field(
        default=None, description="Wins over the Accept header; `png` without either."
    )
    columns: int | None = Field(
        default=None, ge=1, le=1 << 16, description="Columns of a sheet; about square without."
    )
    scale: int = Field(
        default=1, ge=1, le=MAX_SCALE, description="Enlarge pictures so many times, pixel by pixel."
    )
    fps: int = Field(
        default=DEFAULT_FPS, ge=1, le=MAX_FPS, description="Frames a second of an animation."
    )
    there_and_back: bool = Field(
        default=False, description="An animation goes back to its first image."
    )

    @property
    def layout(self) -> Layout:
        """How the images are shown."""
        return Layout(self.columns, self.scale, self.fps, self.there_and_back)


class SizedOptions(PictureOptions):
    """Options of what makes images of a chosen size."""

    size: SizePair | None = Field(
        default=None, description="[height, width], for models whose images may have several sizes."
    )
    seed: Seed | None = Field(default=None, description="Of the network's noise; 0 without.")


Tile = Annotated[
    int,
    Field(
        ge=1,
        description="Edge in pixels of the overlapping tiles that images are made in; without it "
        "images are made whole where they fit.",
    ),
]


class NetworkOptions(SizedOptions):
    """What a network may take beside its main input, and how large images are made."""

    truncation: Truncation | None = Field(
        default=None, description="For networks that take a truncation."
    )
    tile: Tile | None = None


OptionsT = TypeVar("OptionsT", bound=BaseModel)

_LISTS = frozenset({"labels", "seeds", "shape", "size"})


@cache
def lists_of(schema: type[BaseModel]) -> frozenset[str]:
    """The fields whose values are lists, separated by commas in a query string or a form."""
    fields = schema.model_fields
    return frozenset(n for n in _LISTS & fields.keys() if fields[n].annotation != (str | None))


def from_json(schema: type[OptionsT], values: object, max_images: int) -> OptionsT:
    """Check a parsed JSON body; no type is converted to another. Raises InputError."""
    if not isinstance(values, dict):
        raise InputError("body", "a JSON object", short(values))
    return _validated(schema, cast(dict[str, object], values), max_images, strict=True)


def from_strings(schema: type[OptionsT], values: Mapping[str, str], max_images: int) -> OptionsT:
    """Check a query string or form; lists are separated by commas, or JSON where an item holds one,
    as prompts do. Raises InputError."""
    lists, texts = lists_of(schema), {"prompt"} if issubclass(schema, PromptOptions) else set[str]()
    split = {
        n: _items(n, v, max_images) if n in lists or (n in texts and v.startswith("[")) else v
        for n, v in values.items()
    }
    return _validated(schema, split, max_images, strict=False)


def _items(field: str, text: str, most: int) -> Any:
    """The items of a list; no more than are needed to see that there are too many."""
    if not text.startswith("["):
        return text.split(",", most)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(field, "items separated by commas, or a JSON list", short(text)) from None


@cache  # pydantic looks it up anew each time
def _fields(schema: type[BaseModel]) -> frozenset[str]:
    return frozenset(schema.model_fields)


def _validated(
    schema: type[OptionsT], values: Mapping[str, object], max_images: int, *, strict: bool
) -> OptionsT:
    # Pydantic would write one error for each unknown field, however many there are.
    unknown = next((name for name in values if name not in _fields(schema)), None)
    if unknown is not None:
        expected = f"one of the fields {list(schema.model_fields)}"
        raise InputError(unknown[:80], expected, "an unknown field")
    try:
        return schema.model_validate(values, strict=strict, context=max_images)
    except ValidationError as error:
        raise _input_error(error) from None


def _input_error(error: ValidationError) -> InputError:
    first = error.errors(include_url=False)[0]
    field = str(first["loc"][0]) + "".join(f"[{part}]" for part in first["loc"][1:])
    if first["type"] == "missing":
        return InputError(field, "a value", "none")
    if first["type"] == "extra_forbidden":
        return InputError(field, "no such field", short(first["input"]))
    return InputError(field, _AROUND.sub("", first["msg"]), short(first["input"]))


_AROUND = re.compile(r"^\w+ should (be|have) | after validation, not .*")
"""Of pydantic's messages, what is not what was expected."""
