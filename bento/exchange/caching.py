"""What browsers and caches may keep of a reply to GET (RFC 9110, 8.8.3 and 13.1.2; RFC 9111)."""

import hashlib
import json

_YEAR_SECONDS = 31_536_000


def entity_tag(*depends_on: object) -> str:
    """The strong ETag of a reply that is a function of these values (JSON)."""
    text = json.dumps(depends_on, sort_keys=True)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def cache_control(*, pinned: bool, private: bool) -> str:
    """For a reply with an ETag. `pinned`: its request names a version, whose replies never change;
    without a version it is asked anew each time, for another one may be served by then. `private`:
    only the client that asked may keep it."""
    scope = "private" if private else "public"
    return f"{scope}, max-age={_YEAR_SECONDS}, immutable" if pinned else f"{scope}, no-cache"


def is_known(tag: str, if_none_match: str | None) -> bool:
    """Whether a client has a reply of this ETag already, by its If-None-Match."""
    known = [part.strip().removeprefix("W/") for part in (if_none_match or "").split(",")]
    return tag in known or known == ["*"]
