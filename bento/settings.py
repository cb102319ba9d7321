"""The service's settings: every limit, its default and its environment variable, in one place."""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from runtime.defaults import MAX_PIXELS
from runtime.errors import InputError

PREFIX = "LATENTSERVE_"


def _check_backend(name: str) -> str:
    # Not earlier: the supervisor reads settings, too, and need not wait for what this imports.
    from runtime.engines.registry import engines

    known = ("auto", *engines())
    if name not in known:
        raise ValueError(f"expected one of {known}")
    return name


def _check_key(key: SecretStr) -> SecretStr:
    stripped = key.get_secret_value().strip()
    if len(stripped) < _KEY_CHARACTERS or not stripped.isprintable():
        raise ValueError(f"expected at least {_KEY_CHARACTERS} printable characters")
    return SecretStr(stripped)


def _check_origins(origins: str) -> str:
    for origin in filter(None, map(str.strip, origins.split(","))):
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ValueError(f"expected * or origins such as https://a.test:8080, found {origin!r}")
    return origins


_KEY_CHARACTERS = 16
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[!-.0-~]+")
_DIVIDED = ("queue_images", "memory_bytes", "opening_pixels", "max_connections", "max_requests")
PATHS = ("artifacts", "cache", "signed_by")
"""Settings that are places."""
LONGEST_SECONDS = 86_400.0
"""A day: the most that any limit in seconds may be."""


class Settings(BaseModel):
    """Read once, when the service is imported; `LATENTSERVE_` + the field's name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    artifacts: Path = Field(
        default=Path("artifacts"),
        description="Folder of artifacts, `<name>/<version>/` each; the highest version is served.",
    )
    cache: Path | None = Field(
        default=None,
        description="Folder for what is measured on this machine; without it `latentserve` in the "
        "user's cache folder.",
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="Processes that serve, behind one port, each with its part of the cores "
        "and of the GPUs. What the whole service may hold (`QUEUE_IMAGES`, `MEMORY_BYTES`, "
        "`OPENING_PIXELS`, `MAX_CONNECTIONS`, `MAX_REQUESTS`) is divided among them.",
    )
    load_seconds: float = Field(
        default=300.0,
        ge=0,
        le=LONGEST_SECONDS,
        allow_inf_nan=False,
        description="Seconds that an artifact which is new to this machine may take to load, in a "
        "process of its own that tries it; beyond it, the artifact is not served. 0 to load "
        "without a trial, and without limits.",
    )
    load_bytes: int = Field(
        default=8 << 30,
        ge=256 << 20,
        description="Bytes of memory that this trial may take (on Linux); beyond it, the artifact "
        "is not served. In each worker as many trials as it has cores take place at once, and two "
        "at least.",
    )
    reload_seconds: float = Field(
        default=5.0,
        ge=0,
        le=LONGEST_SECONDS,
        allow_inf_nan=False,
        description="How often the folder is looked at for new versions and new artifacts, which "
        "are loaded beside what is served and then take its place; 0 for never.",
    )
    signed_by: Path | None = Field(
        default=None,
        description="PEM file of public keys: an artifact that none of them signed is not served.",
    )
    api_key: Annotated[SecretStr, AfterValidator(_check_key)] | None = Field(
        default=None,
        description="What clients must send as `Authorization: Bearer KEY` (at least 16 "
        "characters, without the spaces around them), except to `/livez`, `/readyz`, "
        "`/healthz` and those of `/v2/health`; else 401.",
    )
    backend: Annotated[str, AfterValidator(_check_backend)] = Field(
        default="auto", description="Engine library; `auto` takes the fastest here."
    )
    precision: Literal["auto", "fp32", "fp16", "bf16"] = Field(
        default="auto", description="Arithmetic of the networks; `fp32` is the reference."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where the engine runs; `auto` takes a GPU that works."
    )
    max_body_bytes: int = Field(
        default=32 << 20, ge=1024, description="Bytes of one request's body; more is 413."
    )
    max_json_bytes: int = Field(
        default=4 << 20,
        ge=1024,
        description="Bytes of a JSON body; more is 413: large latents are sent as `.npy`.",
    )
    max_images: int = Field(
        default=4096, ge=1, description="Images of one request, made or sent; more is 422."
    )
    max_streamed_images: int = Field(
        default=1_000_000,
        ge=1,
        description="Images of one streamed reply: `npy` of more than a batch leaves as it is "
        "made, in flat memory; more is 422.",
    )
    max_files: int = Field(
        default=256, ge=1, description="Files in one multipart request; more is 422."
    )
    max_pixels: int = Field(
        default=MAX_PIXELS,
        ge=1,
        description="Pixels of one uploaded picture; more is 422. As many are decoded at a time, "
        "of two pictures at most, in up to 22 bytes a pixel: 1.5 GB (WebP; others up to 15, 1 GB; "
        "a JPEG that is not progressive, for a small model, less than 1).",
    )
    max_upload_pixels: int = Field(
        default=100_000_000,
        ge=1,
        description="Pixels of all pictures of one request, as sent or as the model sees them; "
        "more is 422. Pictures are opened one after another; those in the model's size are held "
        "together, in 3 bytes a pixel: 300 MB.",
    )
    max_reply_bytes: int = Field(
        default=64 << 20,
        ge=1,
        description="Bytes of one reply's images or posteriors before compression, unless it is "
        "streamed; more is 422.",
    )
    queue_images: int = Field(
        default=8192,
        ge=1,
        le=1 << 20,
        description="Images waiting for one model, half of them for one address; beyond it 429.",
    )
    memory_bytes: int = Field(
        default=1 << 30,
        ge=1 << 20,
        description="Bytes that requests and replies hold in memory, all together, half of them "
        "for one address; beyond it 429. The first 256 KiB of each are not counted.",
    )
    opening_pixels: int = Field(
        default=400_000_000,
        ge=1,
        description="Pixels of all pictures that wait to be opened, half of them for one address; "
        "beyond it 429. The first million of each request is not counted.",
    )
    max_connections: int = Field(
        default=4096,
        ge=2,
        description="Connections at once, half of them for one address; beyond it the one that has "
        "waited longest for a request is closed.",
    )
    max_requests: int = Field(
        default=2048,
        ge=1,
        description="Requests being answered at once, streams included, half of them for one "
        "address; beyond it 429.",
    )
    request_log: bool = Field(
        default=False,
        description="One line of JSON in the log for each request (id, endpoint, status, model, n, "
        "seed, milliseconds); without it only for those that failed.",
    )
    cors_origins: Annotated[str, AfterValidator(_check_origins)] = Field(
        default="",
        description="Origins whose pages may call the service from a browser, separated by commas, "
        "or `*`; none without. Preflights are answered without an API key.",
    )
    timeout_seconds: float = Field(
        default=30.0,
        gt=0,
        le=LONGEST_SECONDS,
        allow_inf_nan=False,
        description="Seconds for one request, reading it included; then 504, and its work is "
        "taken out of the queue. Unless this is set, images that take the engine long have longer: "
        "four times what they took when the model was loaded. A stream has as long for each of its "
        "parts. A reply of which its client takes nothing for so long is cut.",
    )
    shutdown_seconds: float = Field(
        default=20.0,
        gt=0,
        le=LONGEST_SECONDS,
        allow_inf_nan=False,
        description="Seconds that replies under way have when the service is stopped; a "
        "client that takes nothing then is cut after 2 s.",
    )


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from environment variables; ValueError names a variable that is wrong or
    unknown.

    A relative default folder is also looked for beside this package, where a built Bento has it.
    """
    source = os.environ if environ is None else environ
    known = [variable(name) for name in Settings.model_fields]
    for unknown in sorted(name for name in source if name.startswith(PREFIX)):
        if unknown not in known and not _is_service_link(unknown, source[unknown]):
            (nearest,) = get_close_matches(unknown, known, n=1, cutoff=0.0)
            raise ValueError(f"{unknown} is no setting of the service: expected {nearest}?")
    given = {
        name: source[variable(name)] for name in Settings.model_fields if variable(name) in source
    }
    for name, value in given.items():
        if not value.isprintable():  # bytes that are no UTF-8 are not, either
            raise ValueError(f"{variable(name)}: expected printable characters of UTF-8")
        if not value.strip() and Settings.model_fields[name].default != "":
            raise ValueError(f"{variable(name)}: expected a value, found none: unset it instead")
    if "artifacts" in given and not Path(given["artifacts"]).is_dir():
        # A mistyped folder would be a service without models, for ever unready.
        raise ValueError(f"{variable('artifacts')}={given['artifacts']!r}: expected a folder")
    if "artifacts" not in given and not Settings().artifacts.is_dir():
        given["artifacts"] = str(Path(__file__).resolve().parent.parent / "artifacts")
    try:
        settings = Settings.model_validate(given)
        if settings.signed_by is not None:
            from runtime.artifact.signing import public_keys

            public_keys(settings.signed_by)  # an unusable file is a wrong value, too
        return settings
    except InputError as error:
        raise ValueError(f"{variable('signed_by')}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        reason = first["msg"].removeprefix("Value error, ")
        if name == "api_key":  # its value belongs into no log
            raise ValueError(f"{variable(name)}: {reason}") from None
        raise ValueError(f"{variable(name)}={given[name]!r}: {reason}") from None


def _is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes put a variable into this container because a Service has such a name."""
    if name.endswith("_PORT") and _ADDRESS.match(value):
        return True
    return _SERVICE_LINK.search(name) is not None


_ADDRESS = re.compile(r"(tcp|udp|sctp)://")
_SERVICE_LINK = re.compile(
    r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$"
)


def share(settings: Settings) -> Settings:
    """What one worker has of the settings: limits of the whole service are divided among its
    workers, down to the least that the setting allows; those of one request stay as they are."""
    least = {
        name: next(
            limit.ge for limit in Settings.model_fields[name].metadata if isinstance(limit, Ge)
        )
        for name in _DIVIDED
    }
    parts = {
        name: max(low, getattr(settings, name) // settings.workers) for name, low in least.items()
    }
    return settings.model_copy(update=parts)


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def settings_table() -> str:
    """The settings as a Markdown table, for docs/http.md."""
    rows = [
        f"| `{variable(name)}` | `{field.default}` | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | default | meaning |", "| --- | --- | --- |", *rows])
