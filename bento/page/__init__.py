"""The page at /, and the API reference at /docs: the files of this folder, and those of Swagger UI
that BentoML brings along.

BentoML's own page loads a tag manager of a third party, which could read what is typed there. What
is here loads from this server alone; its addresses are relative, so that it works behind a path
prefix too.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.responses import Response

from bento.exchange.caching import is_known

_FOLDER = Path(__file__).parent
_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_FROM_HERE = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
    "media-src blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'; "
)
# Swagger UI sets styles of its elements.
_POLICIES = {"docs.html": _FROM_HERE + "style-src 'self' 'unsafe-inline'"}


@dataclass(frozen=True)
class PageFile:
    """A file of the page, as it is sent."""

    body: bytes
    media_type: str
    policy: str
    etag: str

    def response(self, if_none_match: str | None) -> Response:
        """The file, or 304 for a browser that has it."""
        # Asked for each time: a new version of the service has other files of the same names.
        headers = {
            "ETag": self.etag,
            "Cache-Control": "no-cache",
            "Content-Security-Policy": self.policy,
            "X-Content-Type-Options": "nosniff",
        }
        if is_known(self.etag, if_none_match):
            return Response(status_code=304, headers=headers)
        return Response(self.body, 200, headers, self.media_type)


@cache
def page_files() -> dict[str, PageFile]:
    """Path -> file: the page, the API reference, and what the two load."""
    files = {
        path.relative_to(_FOLDER).as_posix(): _read(path)
        for path in sorted(_FOLDER.rglob("*"))
        if path.suffix in _MEDIA_TYPES
    }
    pages = {"/": files.pop("index.html"), "/docs": files.pop("docs.html")}
    return pages | {f"/page/{name}": file for name, file in files.items()}


def _read(path: Path) -> PageFile:
    body = path.read_bytes()
    policy = _POLICIES.get(path.name, _FROM_HERE + "style-src 'self'")
    etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    return PageFile(body, _MEDIA_TYPES[path.suffix], policy, etag)
