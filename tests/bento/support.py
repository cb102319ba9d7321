"""Asking the app directly, and what the tests' servers have in common."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from bento.models import Models
from bento.routes import build_app
from bento.settings import Settings

ROOT = Path(__file__).resolve().parents[2]

# What is compared with the results in process: one grey level.
FP32 = {"LATENTSERVE_PRECISION": "fp32"}

Ask = Callable[..., httpx.Response]


async def ask_async(
    models: Models,
    method: str,
    path: str,
    *,
    settings: dict[str, Any] | None = None,
    **request: Any,
) -> httpx.Response:
    app = build_app(Settings(**(settings or {})), models)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path, **request)
