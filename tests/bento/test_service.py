"""The real BentoML service in a process of its own: readiness, concurrency, what it imports."""

import asyncio
import io
import re
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from benchmarks.speed.servers import Running, ours, running
from bento.repository.models import Models
from bento.settings import Settings
from runtime import EngineError, Model
from tests.bento.support import FP32, ROOT
from tests.tiny import write_artifact


def test_ready_with_one_damaged_artifact(server: Running) -> None:
    reply = httpx.get(f"{server.url}/models").json()
    assert [model["name"] for model in reply["models"]] == [
        "tiny-conditional",
        "tiny-plain",
        "tiny-vae",
    ]
    (failed,) = reply["failed"]
    assert failed["name"] == "damaged"
    assert "decode.onnx: expected SHA-256" in failed["error"]
    assert failed["error"].startswith("1/decode.onnx")
    vae = reply["models"][2]
    assert vae["latent"] == [2]
    assert vae["image"] == [8, 8, 1]
    assert "encode" in vae["requests"]
    assert vae["images_per_second"] > 0
    assert reply["models"][0]["labels"] == ["zero", "one", "two"]


def test_http_equals_in_process(server: Running, models: Models) -> None:
    body = {"model": "tiny-vae", "n": 64, "seed": 7, "format": "npy"}
    reply = httpx.post(f"{server.url}/sample", json=body)
    assert reply.headers["x-model"] == "tiny-vae@1"
    assert reply.headers["x-seed"] == "7"
    images = np.load(io.BytesIO(reply.content)).astype(int)
    # DESIGN.md's tolerance for fp32: one grey level.
    assert np.abs(images - models.get("tiny-vae").sample(64, seed=7)).max() <= 1


def test_what_bentoml_answers_itself(server: Running) -> None:
    missing = httpx.get(f"{server.url}/nowhere")
    assert missing.status_code == 404
    assert missing.json()["error"].startswith("no such path")
    wrong = httpx.post(f"{server.url}/livez")
    assert wrong.status_code == 405
    assert set(wrong.json()) == {"error", "field", "expected", "found"}
    assert httpx.get(f"{server.url}/livez").status_code == 200
    assert "request_total" in httpx.get(f"{server.url}/metrics").text
    # The pages are ours, and load nothing from elsewhere; Swagger UI's files are BentoML's.
    for page, count in (("", 4), ("docs", 3)):
        text = httpx.get(f"{server.url}/{page}").raise_for_status().text
        loaded = [p for p in re.findall(r'(?:src|href)="([^"]+)"', text) if p != "data:,"]
        assert len(loaded) == count
        for path in loaded:
            assert httpx.get(f"{server.url}/{path}").status_code == 200, path
    assert "/sample" in httpx.get(f"{server.url}/docs.json").json()["paths"]


def test_a_chunked_body_over_the_limit(server: Running) -> None:
    def endless() -> object:
        for _ in range(64):
            yield b" " * (1 << 20)

    headers = {"content-type": "application/json"}
    try:
        reply = httpx.post(f"{server.url}/sample", content=endless(), headers=headers)  # pyright: ignore[reportArgumentType]
        assert reply.status_code == 413
    except httpx.WriteError:
        pass  # the server answered and closed before everything was sent
    assert httpx.get(f"{server.url}/livez").status_code == 200


def test_a_client_that_leaves_is_done_with_at_once(server: Running) -> None:
    head = (
        "POST /decode HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
        "content-length: 100\r\n\r\n{"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode())
    counted = 'latentserve_requests_total{endpoint="/decode",model="",status="499"}'
    for _ in range(100):
        if counted in httpx.get(f"{server.url}/metrics").text:
            return
        time.sleep(0.1)
    raise AssertionError(server.log.read_text("utf-8"))


def test_concurrent_clients_get_their_own_images(server: Running, models: Models) -> None:
    names = ["tiny-plain", "tiny-conditional", "tiny-vae"]
    bodies = [
        {"model": names[i % 3], "n": 1 + i % 37, "seed": i, "offset": i % 5, "format": "npy"}
        for i in range(90)
    ]

    async def ask_all() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=30)
        async with httpx.AsyncClient(limits=limits, timeout=30) as client:
            asked = [client.post(f"{server.url}/sample", json=body) for body in bodies]
            return await asyncio.gather(*asked)

    for body, reply in zip(bodies, asyncio.run(ask_all()), strict=True):
        assert reply.status_code == 200, reply.text
        found = np.load(io.BytesIO(reply.content)).astype(int)
        model = models.get(body["model"])
        expected = model.sample(body["n"], seed=body["seed"], offset=body["offset"])
        assert found.shape == expected.shape
        # fp32 in another batch: one grey level.
        assert np.abs(found - expected).max() <= 1


def test_an_artifact_under_another_name_is_not_served(tmp_path: Path) -> None:
    write_artifact(tmp_path, "plain").parent.rename(tmp_path / "other")
    models = Models(Settings(artifacts=tmp_path))
    models.load()
    assert len(models) == 0
    (failed,) = models.failed
    assert failed.name == "other"
    assert "found 'tiny-plain'" in failed.error
    assert str(tmp_path) not in failed.error


def test_a_model_is_served_once_it_is_warm(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warmed: list[str] = []

    def warm(model: Model) -> None:
        warmed.append(model.manifest.name)
        if model.manifest.name == "tiny-vae":
            raise EngineError("out of memory at batch 16")

    monkeypatch.setattr(Model, "warm", warm)
    models = Models(Settings(artifacts=artifacts, precision="fp32", load_seconds=0))
    models.load()
    served = [model.manifest.name for model in models]
    models.close()
    assert sorted(warmed) == ["tiny-conditional", "tiny-plain", "tiny-vae"]
    assert served == ["tiny-conditional", "tiny-plain"]
    assert {f.name: f.error for f in models.failed}["tiny-vae"] == "out of memory at batch 16"


def test_without_a_loadable_model_it_is_not_ready(tmp_path: Path) -> None:
    (write_artifact(tmp_path / "artifacts", "plain") / "manifest.json").unlink()
    alone = replace(ours(tmp_path / "artifacts", FP32), ready="/livez")
    with running(alone) as server:
        ready = httpx.get(f"{server.url}/readyz")
        assert ready.status_code == 503
        assert "no model is loaded" in ready.json()["error"]
        assert httpx.post(f"{server.url}/sample", json={}).status_code == 503
        (failed,) = httpx.get(f"{server.url}/models").json()["failed"]
        assert failed["name"] == "tiny-plain"
        assert str(tmp_path) not in failed["error"]


def test_what_the_service_imports() -> None:
    code = "import sys, bento.service; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    # All that is for the workers, not for the process that only supervises them.
    heavy = {"torch", "onnxruntime", "train", "export", "numpy", "PIL", "bento.process"}
    assert not heavy & set(printed.split())


def test_the_log_says_what_is_served_on_which_engine_and_what_is_not(server: Running) -> None:
    log = server.log.read_text("utf-8")
    assert "loaded tiny-vae@1: onnxruntime" in log
    assert "cannot serve damaged" in log


def test_with_a_key_and_cors(artifacts: Path) -> None:
    key = "a key of many letters"
    settings = {
        **FP32,
        "LATENTSERVE_API_KEY": key,
        "LATENTSERVE_CORS_ORIGINS": "https://a.test,https://b.test",
    }
    with running(ours(artifacts, settings)) as own:
        for path in ("/models", "/metrics", "/openapi.json", "/nowhere"):
            assert httpx.get(f"{own.url}{path}").status_code == 401, path
        # The page asks for the key itself, and says nothing of what is served.
        page = httpx.get(f"{own.url}/")
        assert page.status_code == 200
        assert "tiny-vae" not in page.text
        with httpx.Client(base_url=own.url, headers={"authorization": f"Bearer {key}"}) as client:
            reply = client.post("/sample", json={"model": "tiny-vae", "n": 2, "seed": 1})
            assert reply.status_code == 200
            assert reply.headers["x-request-id"]
            for method, path, status in (("GET", "/nowhere", 404), ("PUT", "/sample", 405)):
                refused = client.request(method, path)
                assert refused.status_code == status
                assert set(refused.json()) == {"error", "field", "expected", "found"}
            origin = {"origin": "https://b.test"}
            allowed = client.get("/nowhere", headers=origin).headers
            assert allowed["access-control-allow-origin"] == "https://b.test"
            assert "X-Seed" in allowed["access-control-expose-headers"]
            told = client.get("/metrics").text
            assert 'latentserve_model_info{engine="onnxruntime' in told
            assert "/nowhere" not in told, "a series for whatever a client asks for"
        preflight = {"origin": "https://b.test", "access-control-request-method": "POST"}
        answered = httpx.options(f"{own.url}/sample", headers=preflight)
        assert answered.status_code == 200
        assert answered.headers["access-control-allow-origin"] == "https://b.test"
        refused = httpx.get(f"{own.url}/models", headers={"origin": "https://a.test"})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "https://a.test"
        elsewhere = preflight | {"origin": "https://c.test"}
        assert httpx.options(f"{own.url}/sample", headers=elsewhere).status_code == 400
