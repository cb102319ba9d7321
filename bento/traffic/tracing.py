"""OpenTelemetry spans of a request: its own, and queue, engine and encode below it.

Traces are BentoML's setting (`tracing` in its configuration, with a `sample_rate` above 0): the
spans go where it sends them. Without it nothing here is called.
"""

import time
from typing import Any

from starlette.types import Scope


def find_tracer() -> Any:
    """The tracer of BentoML's configuration, or None where it asks for no traces."""
    from bentoml._internal.configuration.containers import BentoMLContainer

    if not BentoMLContainer.tracing.sample_rate.get():
        return None
    return BentoMLContainer.tracer_provider.get().get_tracer("latentserve")


class Trace:
    """The spans of one request. Times are `time.monotonic`'s."""

    def __init__(self, tracer: Any, scope: Scope, name: str) -> None:
        from opentelemetry import propagate, trace

        self._tracer, self._trace = tracer, trace
        # BentoML's own middleware has begun a span where requests go through it.
        parent, kind = None, trace.SpanKind.INTERNAL
        if not trace.get_current_span().get_span_context().is_valid:
            headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
            parent, kind = propagate.extract(headers), trace.SpanKind.SERVER
        self._epoch = time.time_ns() - time.monotonic_ns()
        self._span = tracer.start_span(name, parent, kind)
        self._context = trace.set_span_in_context(self._span)

    def stage(self, name: str, began: float, ended: float) -> None:
        """A span below the request's."""
        first, last = (int(seconds * 1e9) + self._epoch for seconds in (began, ended))
        self._tracer.start_span(name, self._context, start_time=first).end(last)

    def end(self, attributes: dict[str, Any], *, failed: bool) -> None:
        """The request is over."""
        self._span.set_attributes({k: v for k, v in attributes.items() if v is not None})
        if failed:
            self._span.set_status(self._trace.StatusCode.ERROR)
        self._span.end()
