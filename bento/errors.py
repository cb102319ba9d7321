"""Every failure becomes one JSON body with one status.

| status | when |
| --- | --- |
| 400 | the body cannot be parsed |
| 401 | the API key is missing or wrong |
| 404, 405 | no such path, or not with this method |
| 406 | `Accept` names only media types that the endpoint does not make |
| 408, 414, 431 | the head is late, or its URL or headers are too large (`bento.connections`) |
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
from collections.abc import Mapping
from http import HTTPStatus

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime import EngineError, InputError, OverloadedError

logger = logging.getLogger(__name__)


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
) -> dict[str, str | None]:
    """The body of every error."""
    return {"error": error, "field": field, "expected": expected, "found": found}


def error_response(error: Exception, request: str = "-") -> Response:
    """The one mapping from exceptions to replies; what it does not know is logged and is 500.

    `request` is the request's id, for the log.
    """
    match error:
        case RequestError():
            return JSONResponse(error.body, error.status, error.headers)
        case InputError():
            body = error_body(str(error), error.field, error.expected, error.found)
            return JSONResponse(body, 422)
        case OverloadedError():
            expected = f"at most {error.limit} {error.unit} waiting"
            full = try_again("the queue is full, try again", expected, str(error.queued))
            return JSONResponse(full.body, full.status, full.headers)
        case TimeoutError():
            return JSONResponse(error_body("not finished in the allowed time"), 504)
        case ClientDisconnect():
            # Nobody reads this; 499 is what proxies log for it.
            return JSONResponse(error_body("the client left"), 499)
        case EngineError():
            logger.error("request %s: the engine failed: %s", request, error)
            return JSONResponse(error_body("the engine failed, see the server's log"), 500)
        case _:
            logger.error("request %s failed", request, exc_info=error)
            return JSONResponse(error_body("internal error, see the server's log"), 500)


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
