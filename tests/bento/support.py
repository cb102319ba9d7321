"""Asking the app directly, and running the real BentoML server."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from bento.models import Models
from bento.routes import build_app
from bento.settings import Settings

ROOT = Path(__file__).resolve().parents[2]

# The command `bentoml` of this very interpreter.
BENTOML = [
    sys.executable,
    "-c",
    "import sys; from bentoml_cli.cli import cli; sys.path.pop(0); sys.exit(cli())",
]

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


class Server:
    """`bentoml serve` in a process of its own, on a free loopback port.

    `home` is BentoML's own folder; without `artifacts` the service looks for its default; `environ`
    holds further settings.
    """

    def __init__(
        self,
        home: Path,
        artifacts: Path | None,
        *,
        bento: str = ".",
        folder: Path = ROOT,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home / "server.log"
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("LATENTSERVE_") or name == "LATENTSERVE_CACHE"
        }
        settings = {
            "BENTOML_HOME": str(home),
            "BENTOML_DO_NOT_TRACK": "True",
            "LATENTSERVE_PRECISION": "fp32",
        }
        if artifacts is not None:
            settings["LATENTSERVE_ARTIFACTS"] = str(artifacts)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*BENTOML, "serve", bento, "--port", str(self.port)],
                cwd=folder,
                env={**inherited, **settings, **(environ or {})},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.readiness = self._wait()

    def _wait(self) -> httpx.Response:
        for _ in range(300):
            try:
                return httpx.get(f"{self.url}/readyz")
            except httpx.TransportError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise
