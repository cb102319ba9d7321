"""New versions are loaded beside the old ones and take their place, or change nothing."""

import asyncio
import gc
import io
import shutil
import threading
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import psutil
import pytest

from bento.repository.models import Models
from bento.settings import Settings
from tests.bento.support import ask_async
from tests.tiny import write_artifact


@pytest.fixture
def models(tmp_path: Path) -> Iterator[Models]:
    write_artifact(tmp_path, "plain", version=1)
    loaded = Models(Settings(artifacts=tmp_path, precision="fp32", load_seconds=0))
    loaded.load()
    loaded.refresh()
    yield loaded
    loaded.close()


def served(models: Models) -> list[str]:
    return [model.manifest.full_name for model in models]


def look(models: Models) -> None:
    """Twice: what changed since the last look is left alone until it stands still."""
    models.refresh()
    models.refresh()


def test_a_new_version_takes_over(models: Models, tmp_path: Path) -> None:
    before = models.get("tiny-plain").sample(2, seed=1)
    write_artifact(tmp_path, "plain", version=2, seed=5)
    models.refresh()
    assert served(models) == ["tiny-plain@1"], "it may still be being copied"
    models.refresh()
    assert served(models) == ["tiny-plain@2"]
    assert (models.get("tiny-plain").sample(2, seed=1) != before).any()


def test_a_new_artifact_is_served_too(models: Models, tmp_path: Path) -> None:
    write_artifact(tmp_path, "vae")
    look(models)
    assert served(models) == ["tiny-plain@1", "tiny-vae@1"]


def test_a_failing_version_changes_nothing(models: Models, tmp_path: Path) -> None:
    graph = write_artifact(tmp_path, "plain", version=2) / "decode.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1])
    look(models)
    assert served(models) == ["tiny-plain@1"]
    assert len(models.get("tiny-plain").sample(3, seed=1)) == 3
    (failed,) = models.failed
    assert (failed.name, failed.version) == ("tiny-plain", 2)
    assert failed.error.startswith("2/decode.onnx: expected SHA-256")
    graph.write_bytes(whole)
    look(models)
    assert served(models) == ["tiny-plain@2"]
    assert models.failed == ()


def test_a_removed_version_makes_room_for_the_one_before(models: Models, tmp_path: Path) -> None:
    write_artifact(tmp_path, "plain", version=2)
    look(models)
    shutil.rmtree(tmp_path / "tiny-plain" / "2")
    look(models)
    assert served(models) == ["tiny-plain@1"]
    # The last one, and the whole folder, stay served.
    shutil.rmtree(tmp_path / "tiny-plain")
    look(models)
    assert served(models) == ["tiny-plain@1"]


def test_what_has_begun_ends_with_the_old_version(models: Models, tmp_path: Path) -> None:
    model = models.get("tiny-plain")
    expected = model.sample(300, seed=3)
    stream = model.stream(300, seed=3)
    first = next(stream)
    write_artifact(tmp_path, "plain", version=2, seed=5)
    look(models)
    del model
    found = np.concatenate([first, *stream]).astype(int)
    # fp32 in other batches: one grey level.
    assert np.abs(found - expected).max() <= 1


def test_the_watcher_looks_by_itself(tmp_path: Path) -> None:
    models = Models(
        Settings(artifacts=tmp_path, precision="fp32", load_seconds=0, reload_seconds=0.05)
    )
    models.start()
    try:
        for version in (1, 2):
            write_artifact(tmp_path, "plain", version=version)
            for _ in range(200):
                if served(models) == [f"tiny-plain@{version}"]:
                    break
                time.sleep(0.05)
            assert served(models) == [f"tiny-plain@{version}"]
    finally:
        models.close()


def test_no_request_fails_while_versions_change(models: Models, tmp_path: Path) -> None:
    """Clients ask on and on; each reply is whole, and of the version that its header names."""
    expected = {"tiny-plain@1": models.get("tiny-plain").sample(5, seed=9)}
    done = threading.Event()

    async def client() -> list[tuple[str, np.ndarray]]:
        found: list[tuple[str, np.ndarray]] = []
        body = {"model": "tiny-plain", "n": 5, "seed": 9, "format": "npy"}
        while not done.is_set():
            reply = await ask_async(models, "POST", "/sample", json=body)
            assert reply.status_code == 200, reply.text
            found.append((reply.headers["x-model"], np.load(io.BytesIO(reply.content))))
        return found

    def swap() -> None:
        try:
            for version in range(2, 6):
                write_artifact(tmp_path, "plain", version=version, seed=version)
                look(models)
                name = f"tiny-plain@{version}"
                expected[name] = models.get(name).sample(5, seed=9)
                time.sleep(0.05)
        finally:
            done.set()

    async def run() -> list[tuple[str, np.ndarray]]:
        swapping = asyncio.to_thread(swap)
        clients = asyncio.gather(*(client() for _ in range(4)))
        _, replies = await asyncio.gather(swapping, clients)
        return list(chain.from_iterable(replies))

    found = asyncio.run(run())
    assert {name for name, _ in found} >= {"tiny-plain@1", "tiny-plain@5"}
    for name, images in found:
        # fp32 in another batch: one grey level.
        assert np.abs(images.astype(int) - expected[name]).max() <= 1


def test_old_versions_are_released(models: Models, tmp_path: Path) -> None:
    process = psutil.Process()

    def swap(version: int) -> None:
        shutil.rmtree(tmp_path / "tiny-plain")
        # Three megabytes of weights, so that one that stays behind is seen.
        write_artifact(tmp_path, "plain", version=version, latent=(4096,))
        look(models)
        assert served(models) == [f"tiny-plain@{version}"]
        models.get(None).sample(64, seed=0)

    for version in range(2, 12):
        swap(version)
    threads, before = process.num_threads(), process.memory_info().rss
    for version in range(12, 62):
        swap(version)
    for _ in range(100):
        gc.collect()
        if process.num_threads() <= threads:
            break
        time.sleep(0.05)
    assert process.num_threads() <= threads
    # 50 of them would be 150 MB, and their sessions.
    assert process.memory_info().rss - before < 30 << 20
