"""What may be asked over HTTP: closed pydantic models, one for each endpoint.

They check form: types, bounds, unknown fields. What depends on a model (its labels, the shape of
its latents) is checked by `runtime`, and the service's own limits by the routes.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails

from runtime import InputError
from runtime.streams import MAX_SEED

PictureFormat = Literal["png", "webp", "jpeg", "npy", "zip", "json"]
ArrayFormat = Literal["json", "npy", "npz"]

Seed = Annotated[int, Field(ge=0, lt=MAX_SEED)]


def _check_labels(value: Any) -> Any:
    many = cast(list[Any], value) if isinstance(value, list) else [value]
    for label in many:
        if isinstance(label, bool) or not isinstance(label, str | int):
            raise InputError("labels", "a class by name or index, or a list of them", _short(many))
    if not many:
        raise InputError("labels", "at least one label", "none")
    return cast(Any, value)


_LABEL_SCHEMA: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "integer"}]}
Labels = Annotated[
    Any,
    PlainValidator(_check_labels),
    WithJsonSchema({"anyOf": [*_LABEL_SCHEMA["anyOf"], {"type": "array", "items": _LABEL_SCHEMA}]}),
]


def _to_array(value: Any, info: ValidationInfo) -> NDArray[Any]:
    # Here, where the parsing is, because it may take long and belongs into the same thread.
    expected = "nested lists of numbers, all of one length at each depth"
    if not isinstance(value, list):
        raise InputError(info.field_name or "body", expected, _short(value))
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
        default=None, description="Name, or name@version; without it the first by name."
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


class SampleRequest(PictureOptions):
    """Images `offset` .. `offset + n - 1` of one seed, or image 0 of each of `seeds`."""

    n: int | None = Field(default=None, ge=1, description="How many images; 1 without.")
    seed: Seed | None = Field(default=None, description="Drawn by the server without.")
    offset: int = Field(default=0, ge=0, lt=MAX_SEED)
    seeds: list[Seed] | None = Field(
        default=None, min_length=1, description="Instead of `n`, `seed` and `offset`."
    )
    truncation: float | None = Field(
        default=None, gt=0, le=100, description="Draw latents from [-t, t] only."
    )


class DecodeRequest(PictureOptions):
    """Images of given latents."""

    latents: Numbers = Field(description="Shape [n, *latent].")


class EncodeOptions(Options):
    """How the posterior is wanted."""

    format: ArrayFormat | None = Field(
        default=None,
        description="Wins over the Accept header; `json` without either. `npy` holds the means, "
        "`npz` the arrays `mean` and `log_variance`.",
    )


class InterpolateRequest(PictureOptions):
    """Images on the way between two seeds or two latents."""

    seeds: list[Seed] | None = Field(
        default=None, min_length=2, max_length=2, description="From image 0 of one to the other's."
    )
    a: Numbers | None = Field(default=None, description="One latent, instead of `seeds`.")
    b: Numbers | None = Field(default=None, description="The other latent.")
    steps: int = Field(default=8, ge=2, description="Images, both ends included.")
    kind: Literal["slerp", "lerp"] = "slerp"
    truncation: float | None = Field(default=None, gt=0, le=100, description="With `seeds`.")


OptionsT = TypeVar("OptionsT", bound=BaseModel)


def from_json(schema: type[OptionsT], values: object) -> OptionsT:
    """Check a parsed JSON body; no type is converted to another. Raises InputError."""
    try:
        return schema.model_validate(values, strict=True)
    except ValidationError as error:
        raise _input_error(schema, error) from None


def from_strings(schema: type[OptionsT], values: Mapping[str, str]) -> OptionsT:
    """Check a query string or form; lists are separated by commas. Raises InputError."""
    lists = {"labels", "seeds"}
    split = {name: v.split(",") if name in lists else v for name, v in values.items()}
    try:
        return schema.model_validate(split)
    except ValidationError as error:
        raise _input_error(schema, error) from None


def _input_error(schema: type[BaseModel], error: ValidationError) -> InputError:
    first = error.errors()[0]
    field = ""
    for part in first["loc"]:
        field += f"[{part}]" if isinstance(part, int) else f".{part}" if field else part
    return InputError(field or "body", _expected(schema, first), _found(first))


def _expected(schema: type[BaseModel], error: ErrorDetails) -> str:
    if error["type"] == "extra_forbidden":
        return f"one of the fields {list(schema.model_fields)}"
    if error["type"] == "missing":
        return "a value"
    if error["type"] == "model_type":
        return "a JSON object"
    return error["msg"].removeprefix("Input should be ")


def _found(error: ErrorDetails) -> str:
    if error["type"] == "extra_forbidden":
        return "an unknown field"
    return "none" if error["type"] == "missing" else _short(error["input"])


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
