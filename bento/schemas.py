"""What may be asked over HTTP: closed pydantic models, one for each endpoint.

They check form: types, bounds, unknown fields, and that no list is longer than the images that the
service makes for one request. What depends on a model (its labels, the shape of its latents) is
checked by `runtime`; how many images may be asked for depends on the reply's format.
"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, cast

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

from runtime import InputError
from runtime.requests.checks import MAX_COUNT, MAX_TRUNCATION
from runtime.requests.manifold import MAX_STEPS
from runtime.sampling.streams import MAX_SEED

PictureFormat = Literal["png", "webp", "jpeg", "npy", "zip", "json"]
ArrayFormat = Literal["json", "npy", "npz"]

Seed = Annotated[int, Field(ge=0, lt=MAX_SEED)]


def _check_count(count: int, info: ValidationInfo) -> int:
    limit = cast(int, info.context)
    if count > limit:
        field = info.field_name or "body"
        raise InputError(field, f"at most {limit} images a request", _told(count))
    return count


def _check_length(value: Any, info: ValidationInfo) -> Any:
    """A list with one item an image: its length is looked at before its items."""
    if isinstance(value, list):
        _check_count(len(cast(list[Any], value)), info)
    return cast(Any, value)


Count = Annotated[int, AfterValidator(_check_count)]
SizePair = Annotated[list[int], Field(min_length=2, max_length=2)]
Truncation = Annotated[float, Field(gt=0, le=MAX_TRUNCATION)]
Seeds = Annotated[list[Seed], Field(fail_fast=True), BeforeValidator(_check_length)]


def _check_labels(value: Any) -> Any:
    many = cast(list[Any], value) if isinstance(value, list) else [value]
    for label in many:
        if isinstance(label, bool) or not isinstance(label, str | int):
            expected = "a class by name or index, or a list of them"
            raise InputError("labels", expected, _told(cast(object, label)))
    if not many:
        raise InputError("labels", "at least one label", "none")
    return cast(Any, value)


_LABEL_SCHEMA: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "integer"}]}
Labels = Annotated[
    Any,
    PlainValidator(_check_labels),
    BeforeValidator(_check_length),
    WithJsonSchema({"anyOf": [*_LABEL_SCHEMA["anyOf"], {"type": "array", "items": _LABEL_SCHEMA}]}),
]


def _to_array(value: Any, info: ValidationInfo) -> NDArray[Any]:
    # Here, where the parsing is, because it may take long and belongs into the same thread.
    expected = "nested lists of numbers, all of one length at each depth"
    if not isinstance(value, list):
        raise InputError(info.field_name or "body", expected, _told(value))
    try:
        return np.asarray(cast(list[Any], value))
    except ValueError:
        raise InputError(info.field_name or "body", expected, "lists of several lengths") from None


Numbers = Annotated[Any, PlainValidator(_to_array), WithJsonSchema({"type": "array", "items": {}})]
"""Nested lists of numbers, as an array."""


class Options(BaseModel):
    """What every endpoint takes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str | None = Field(
        default=None,
        max_length=200,
        description="Name, or name@version; without it the first by name.",
    )
    labels: Labels | None = Field(
        default=None,
        description="For conditional models: one class for all images or one for each, by name "
        "or index.",
    )


class PictureOptions(Options):
    """How images are wanted."""

    format: PictureFormat | None = Field(
        default=None, description="Wins over the Accept header; `png` without either."
    )
    columns: int | None = Field(
        default=None, ge=1, le=1 << 16, description="Columns of a sheet; about square without."
    )


class SizedOptions(PictureOptions):
    """Options of what makes images of a chosen size."""

    size: SizePair | None = Field(
        default=None, description="[height, width], for models whose images may have several sizes."
    )
    seed: Seed | None = Field(default=None, description="Of the network's noise; 0 without.")


class DecodeOptions(SizedOptions):
    """Options of decoding and translating."""

    truncation: Truncation | None = Field(
        default=None, description="For networks that take a truncation."
    )


class ManifoldRequest(PictureOptions):
    """A grid over a 2-D latent space."""

    steps: int = Field(
        default=20, ge=1, le=MAX_STEPS, description="Images along each side of the grid."
    )
    seed: Seed | None = Field(default=None, description="Of the network's noise; 0 without.")


class SampleRequest(SizedOptions):
    """Images `offset` .. `offset + n - 1` of one seed, or image 0 of each of `seeds`."""

    n: int | None = Field(
        default=None, ge=1, le=MAX_COUNT, description="How many images; 1 without."
    )
    seed: Seed | None = Field(default=None, description="Drawn by the server without.")
    offset: int = Field(default=0, ge=0, lt=MAX_SEED)
    seeds: Seeds | None = Field(
        default=None, min_length=1, description="Instead of `n`, `seed` and `offset`."
    )
    truncation: Truncation | None = Field(
        default=None, description="Draw latents from [-t, t] only."
    )


class DecodeRequest(DecodeOptions):
    """Images of given latents."""

    latents: Annotated[Numbers, BeforeValidator(_check_length)] = Field(
        description="Shape [n, *latent]."
    )


class EncodeOptions(Options):
    """How the posterior is wanted."""

    size: SizePair | None = Field(
        default=None,
        description="[height, width] to which pictures are brought; that of the first without.",
    )

    seed: Seed | None = Field(
        default=None,
        description="Draw a latent of each posterior, with its log density, instead of its mean "
        "and log variance. Models whose encoder takes noise need it.",
    )
    format: ArrayFormat | None = Field(
        default=None,
        description="Wins over the Accept header; `json` without either. `npy` holds the means, "
        "`npz` the arrays `mean` and `log_variance`; with a `seed` the latents, and the arrays "
        "`latents` and `log_density`.",
    )


class InterpolateRequest(PictureOptions):
    """Images on the way between two seeds or two latents."""

    seeds: Seeds | None = Field(
        default=None, min_length=2, max_length=2, description="From image 0 of one to the other's."
    )
    a: Numbers | None = Field(default=None, description="One latent, instead of `seeds`.")
    b: Numbers | None = Field(default=None, description="The other latent.")
    steps: Count = Field(default=8, ge=2, description="Images, both ends included.")
    kind: Literal["slerp", "lerp"] = "slerp"
    truncation: Truncation | None = Field(default=None, description="With `seeds`.")


OptionsT = TypeVar("OptionsT", bound=BaseModel)


def from_json(schema: type[OptionsT], values: object, max_images: int) -> OptionsT:
    """Check a parsed JSON body; no type is converted to another. Raises InputError."""
    if not isinstance(values, dict):
        raise InputError("body", "a JSON object", _told(values))
    return _validated(schema, cast(dict[str, object], values), max_images, strict=True)


def from_strings(schema: type[OptionsT], values: Mapping[str, str], max_images: int) -> OptionsT:
    """Check a query string or form; lists are separated by commas. Raises InputError."""
    lists = {"labels", "seeds", "size"}
    split = {name: v.split(",") if name in lists else v for name, v in values.items()}
    return _validated(schema, split, max_images, strict=False)


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
    return InputError(field, first["msg"].removeprefix("Input should be "), _told(first["input"]))


def _told(value: object) -> str:
    """A JSON value in a few words, however large it is."""
    match value:
        case list():
            return f"a list of {len(cast(list[object], value))}"
        case dict():
            return "an object"
        case str() if len(value) > 80:
            return f"{value[:77]!r}..."
        case int() if value.bit_length() > 256:
            return f"an integer of {value.bit_length()} bits"
        case _:
            return repr(value)
