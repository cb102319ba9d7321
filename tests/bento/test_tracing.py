"""Spans of a request, as an OpenTelemetry exporter gets them."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from bento.repository.models import Models
from bento.routes import build_app
from bento.settings import Settings
from tests.bento.support import ROOT

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def when(span: ReadableSpan) -> tuple[int, int]:
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time, span.end_time


def ask(models: Models, exporter: InMemorySpanExporter, body: dict, **headers: str) -> int:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = build_app(Settings(), models, lambda: provider.get_tracer("test"))

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post("/sample", json=body, headers=headers)

    return asyncio.run(send()).status_code


def test_queue_engine_and_encode_lie_below_the_request(
    models: Models, exporter: InMemorySpanExporter
) -> None:
    body = {"model": "tiny-plain", "n": 2, "seed": 4}
    assert ask(models, exporter, body, traceparent=PARENT) == 200
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) == {"POST /sample", "queue", "engine", "encode"}
    whole = spans["POST /sample"]
    assert whole.context is not None
    assert f"{whole.context.trace_id:032x}" in PARENT
    assert whole.parent is not None
    assert f"{whole.parent.span_id:016x}" in PARENT
    assert whole.attributes is not None
    assert whole.attributes["latentserve.model"] == "tiny-plain"
    assert whole.attributes["latentserve.n"] == 2
    assert whole.attributes["latentserve.seed"] == 4
    assert whole.attributes["latentserve.status"] == "200"
    began, ended = when(whole)
    slack = 1_000_000  # clocks are read a little apart
    last = began
    for name in ("queue", "engine", "encode"):
        span = spans[name]
        assert span.parent is not None
        assert span.parent.span_id == whole.context.span_id
        first, until = when(span)
        assert began - slack <= first <= until <= ended + slack
        assert until >= last, "one after the other"
        last = until


def test_a_large_request_has_a_span_for_each_slice(
    models: Models, exporter: InMemorySpanExporter
) -> None:
    body = {"model": "tiny-plain", "n": 100, "seed": 4, "format": "npy"}
    assert ask(models, exporter, body) == 200
    names = [span.name for span in exporter.get_finished_spans()]
    assert names.count("engine") >= 100 / models.get("tiny-plain").max_batch


def test_a_refusal_has_a_span_and_is_no_failure_of_the_server(
    models: Models, exporter: InMemorySpanExporter
) -> None:
    assert ask(models, exporter, {"model": "nobody"}) == 422
    (span,) = exporter.get_finished_spans()
    assert span.status.status_code is not StatusCode.ERROR


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_bentomls_configuration_decides(rate: float, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"version: 1\ntracing:\n  sample_rate: {rate}\n")
    code = "from bento.traffic.tracing import find_tracer; print(find_tracer() is not None)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "BENTOML_CONFIG": str(config)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str(rate > 0), done.stderr
