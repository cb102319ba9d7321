"""Which format a client gets: its `format` option, else its Accept header (RFC 9110, 12.5.1)."""

from collections.abc import Mapping
from typing import Protocol, TypeVar

from bento.errors import RequestError


class HasMediaType(Protocol):
    @property
    def media_type(self) -> str: ...


FormatT = TypeVar("FormatT", bound=HasMediaType)

_MOST_RANGES = 32
"""Those after them are not read: browsers send less than ten, and a header can hold thousands."""


def choose_format(
    explicit: str | None, accept: str | None, offered: Mapping[str, FormatT]
) -> FormatT:
    """The explicit format, else the first that `accept` likes best, else the first offered.

    RequestError 406 where `accept` has no place for any of them.
    """
    if explicit is not None:
        return offered[explicit]
    if not accept or accept.strip() == "*/*":
        return next(iter(offered.values()))
    ranges = [_accept_range(part) for part in accept.split(",", _MOST_RANGES)[:_MOST_RANGES]]
    # `max` keeps the first of several that are equally good.
    best = max(offered.values(), key=lambda kind: _quality(kind.media_type, ranges))
    if _quality(best.media_type, ranges) <= 0:
        raise RequestError(
            406,
            "no format of this endpoint is accepted",
            field="accept",
            expected="one of " + ", ".join(kind.media_type for kind in offered.values()),
            found=accept[:80],
        )
    return best


def _accept_range(part: str) -> tuple[str, float]:
    name, *parameters = part.split(";")
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return name.strip().lower(), quality


def _quality(media_type: str, ranges: list[tuple[str, float]]) -> float:
    """The quality of the most specific range that matches."""
    family = media_type.partition("/")[0]
    for wanted in (media_type, f"{family}/*", "*/*"):
        for name, quality in ranges:
            if name == wanted:
                return quality
    return 0.0
