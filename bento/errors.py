"""Every failure becomes one JSON body with one status.

| status | when |
| --- | --- |
| 400 | the body cannot be parsed |
| 401 | the API key is missing or wrong |
| 404, 405 | no such path, or not with this method |
| 406 | `Accept` names only media types that the endpoint does not make |
| 408, 414, 431 | the head is late, or its URL or headers too large (`bento.server.connections`) |
| 413 | the body is too large |
| 415 | the body's media type is not one the endpoint reads |
| 422 | parsed, but a value is not acceptable |
| 429 | the queue is full, or too many requests at once: `Retry-After` says when to try again |
| 500 | the engine failed, or a defect |
| 503 | no model is loaded, or an engine fails |
| 504 | not finished in the allowed time |
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime import EngineError, InputError, OverloadedError

logger = logging.getLogger(__name__)

ErrorBody = Mapping[str, str | None]
"""Our body of an error: `error_body`."""


@dataclass(frozen=True)
class ErrorShape:
    """Errors as a protocol has them: `of(status, body)` gives its status and body of ours; `schema`
    describes the body."""

    of: Callable[[int, ErrorBody], tuple[int, Mapping[str, Any]]]
    schema: type[BaseModel]


class RequestError(Exception):
    """A request that HTTP itself refuses: its status, headers, and the body's four entries."""

    def __init__(
        self,
        status: int,
        error: str,
        *,
        field: str | None = None,
        expected: str | None = None,
        found: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = error_body(error, field, expected, found)
        super().__init__(error)


def try_again(error: str, expected: str, found: str) -> RequestError:
    """429: there is no room for the request now."""
    headers = {"Retry-After": "1"}
    return RequestError(429, error, expected=expected, found=found, headers=headers)


def error_body(
    error: str, field: str | None = None, expected: str | None = None, found: str | None = None
) -> ErrorBody:
    """The body of every error."""
    return {"error": error, "field": field, "expected": expected, "found": found}


def error_response(
    error: Exception, request: str = "-", shape: ErrorShape | None = None
) -> Response:
    """The reply to a request that fails, in our shape or another.

    `request` is the request's id, for the log.
    """
    refused = _as_refused(error, request)
    status, body = refused.status, refused.body
    if shape is not None:
        status, body = shape.of(status, body)
    return JSONResponse(body, status, refused.headers)


def _as_refused(error: Exception, request: str) -> RequestError:
    """The one mapping from exceptions to statuses; what it does not know is logged and is 500."""
    match error:
        case RequestError():
            return error
        case InputError(field=field, expected=expected, found=found):
            return RequestError(422, str(error), field=field, expected=expected, found=found)
        case OverloadedError():
            expected = f"at most {error.limit} {error.unit} waiting"
            return try_again("the queue is full, try again", expected, str(error.queued))
        case TimeoutError():
            return RequestError(504, "not finished in the allowed time")
        case ClientDisconnect():
            # Nobody reads this; 499 is what proxies log for it.
            return RequestError(499, "the client left")
        case EngineError():
            logger.error("request %s: the engine failed: %s", request, error)
            return RequestError(500, "the engine failed, see the server's log")
        case _:
            logger.error("request %s failed", request, exc_info=error)
            return RequestError(500, "internal error, see the server's log")


class JsonErrors:
    """ASGI middleware: gives the errors that BentoML and Starlette write as plain text (unknown
    path, wrong method, not ready) the same JSON body as ours."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        replaced: Message | None = None

        async def send_json(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and message["status"] >= 400:
                kind = MutableHeaders(raw=message["headers"]).get("content-type", "")
                if not kind.startswith("application/json"):
                    replaced = message
                    return
            if replaced is None:
                await send(message)
            elif not message.get("more_body", False):
                start = replaced
                body = json.dumps(error_body(_reason(scope, start["status"]))).encode()
                headers = MutableHeaders(raw=list(start["headers"]))
                headers["content-type"] = "application/json"
                headers["content-length"] = str(len(body))
                await send({**start, "headers": headers.raw})
                await send({"type": "http.response.body", "body": body})

        await self.app(scope, receive, send_json)


def _reason(scope: Scope, status: int) -> str:
    if status == 404:
        return "no such path: /openapi.json describes those there are"
    if status == 405:
        return f"{scope['method']} is not possible here, see the Allow header"
    if status == 503:
        return "not ready: no model is loaded (/models says why) or an engine fails (see the log)"
    return HTTPStatus(status).phrase.lower()
