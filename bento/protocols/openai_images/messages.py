"""What OpenAI's image requests may hold, and what its errors look like."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationInfo

from bento.errors import ErrorBody, ErrorShape
from bento.exchange.schemas import ModelOptions, Seed, Truncation
from runtime import InputError
from runtime.checks import short
from runtime.requests.checks import MAX_COUNT

ANY = "any"
_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")


def _refusing(refused: object, expected: str) -> AfterValidator:
    """A value that their API has, and that is not to be had here."""

    def check(value: object, info: ValidationInfo) -> object:
        if value == refused:
            raise InputError(info.field_name or "body", expected, short(value))
        return value

    return AfterValidator(check)


def _check_size(size: str | None) -> str | None:
    if size not in (None, "auto") and not _SIZE.fullmatch(size):
        raise InputError("size", "WIDTHxHEIGHT in pixels, such as 64x48, or auto", short(size))
    return size


class ImageOptions(ModelOptions):
    """What both of their requests have."""

    size: Annotated[str | None, AfterValidator(_check_size)] = Field(
        default=None, description="WIDTHxHEIGHT; `auto`, or none: the model's own, or a picture's."
    )
    response_format: Annotated[
        Literal["b64_json", "url"] | None,
        _refusing("url", "b64_json: no picture is kept here for a URL to lead to"),
    ] = Field(default=None, description="`b64_json`, also without it.")
    output_format: Literal["png", "jpeg", "webp"] | None = Field(
        default=None, description="`png` without it; `webp` is lossless."
    )
    stream: Annotated[bool | None, _refusing(True, "false: images are sent together")] = Field(
        default=None, description="False: images are sent together."
    )
    background: Annotated[
        Literal["auto", "opaque", "transparent"] | None,
        _refusing("transparent", "auto: a model's images have its own channels"),
    ] = Field(default=None, description="What the model makes; `transparent` is refused.")
    seed: Seed | None = Field(
        default=None, description="Ours: the same seed gives the same images."
    )
    truncation: Truncation | None = Field(default=None, description="Ours: see `/sample`.")
    quality: Any = Field(default=None, description="Ignored.")
    user: Any = Field(default=None, description="Ignored.")
    safety_identifier: Any = Field(default=None, description="Ignored.")
    complexity: Any = Field(default=None, description="Ignored.")
    output_compression: Any = Field(default=None, description="Ignored.")
    partial_images: Any = Field(default=None, description="Ignored: nothing is streamed.")

    @property
    def height_width(self) -> list[int] | None:
        """[height, width] where a size was asked for."""
        found = _SIZE.fullmatch(self.size or "")
        return None if found is None else [int(found[2]), int(found[1])]


_Prompt = Annotated[
    str,
    Field(
        max_length=32_000,
        description="A class by name or index, or a text of the words that the model knows; empty, "
        "or `any`, where it does not matter.",
    ),
]


class ImageGeneration(ImageOptions):
    """Images of a seed."""

    prompt: _Prompt
    n: int | None = Field(default=None, ge=1, le=MAX_COUNT, description="How many; 1 without it.")
    style: Any = Field(default=None, description="Ignored.")
    moderation: Any = Field(default=None, description="Ignored.")


class ImageEdit(ImageOptions):
    """What a network makes of pictures: an image of each."""

    prompt: _Prompt = ""  # their client leaves an empty one out of a form
    n: Annotated[
        int | None, Field(ge=1, le=1, description="1: an image of each picture that is sent.")
    ] = None
    input_fidelity: Any = Field(default=None, description="Ignored.")


class OpenAIErrorDetails(BaseModel):
    """What went wrong."""

    message: str = Field(description="With what was expected, and what was found.")
    type: str = Field(description="`invalid_request_error`, `rate_limit_error` or `server_error`.")
    param: str | None = Field(description="The field that is wrong, if one is.")
    code: str | None = Field(description="`model_not_found`, for example, where there is one.")


class OpenAIError(BaseModel):
    """The body of every error of these paths."""

    error: OpenAIErrorDetails


_THEIR_NAMES = {"labels": "prompt", "files": "image"}
_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


def _as_theirs(status: int, ours: ErrorBody) -> tuple[int, Mapping[str, Any]]:
    """An unacceptable value is 400 to them, and a model that is not there 404."""
    text, field, expected, found = (ours[k] for k in ("error", "field", "expected", "found"))
    root, bracket, place = (field or "").partition("[")
    param = None if field is None else f"{_THEIR_NAMES.get(root, root)}{bracket}{place}"
    if expected is not None:
        about = param if text == f"{field}: expected {expected}, found {found}" else text
        text = f"{about}: expected {expected}, found {found}"
    if status == 422:
        status = 404 if field == "model" else 400
    kind = "server_error" if status >= 500 else "invalid_request_error"
    kind = "rate_limit_error" if status == 429 else kind
    details = {"message": text, "type": kind, "param": param, "code": _CODES.get(status)}
    return status, {"error": details}


ERRORS = ErrorShape(_as_theirs, OpenAIError)
