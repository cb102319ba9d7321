"""A newcomer's first quarter of an hour: `make serve` in a clean copy, then every code block."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.docs.blocks import (
    NEEDS,
    PAGES,
    ROOT,
    RUN,
    Block,
    copy_repository,
    read_blocks,
    run_block,
)

BLOCKS = [block for page in PAGES for block in read_blocks(page)]
INSTALL_SECONDS = 400.0  # a generous bound for pip on a slow line, never a measurement

pytestmark = [pytest.mark.xdist_group("docs"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_repository(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def server(clone: Path) -> Iterator[str]:
    """The address of `make serve` in the clean copy, its environment made from nothing."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    # The service must find the copy's artifacts, not what another test points to.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LATENTSERVE_")}
    environment["LATENTSERVE_CACHE"] = os.environ["LATENTSERVE_CACHE"]
    process = subprocess.Popen(
        ["make", "serve", f"PORT={port}"],  # noqa: S607
        cwd=clone,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        _wait_until_ready(process, address)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)


def _wait_until_ready(process: "subprocess.Popen[bytes]", address: str) -> None:
    give_up = time.monotonic() + INSTALL_SECONDS
    while time.monotonic() < give_up and process.poll() is None:
        try:
            if httpx.get(f"http://{address}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    output = process.communicate()[0].decode()
    pytest.fail(f"`make serve` was not ready within {INSTALL_SECONDS:.0f} s:\n{output[-4000:]}")


def test_the_serving_environment_holds_no_torch(server: str, clone: Path) -> None:
    names = subprocess.run(
        [clone / ".venv-serve/bin/python", "-m", "pip", "list", "--format=freeze"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.search(r"^bentoml==", names, re.MULTILINE)
    assert not re.search(r"^(torch|onnxscript|tensorboard)\b", names, re.MULTILINE)


def test_every_shipped_model_is_served(server: str, clone: Path) -> None:
    shipped = sorted(folder.name for folder in (clone / "artifacts").iterdir() if folder.is_dir())
    listed = httpx.get(f"http://{server}/models").json()
    assert sorted(model["name"] for model in listed["models"]) == shipped
    assert len(shipped) >= 4


@pytest.mark.parametrize(
    ("given", "environ", "folder"),
    [
        ([], {}, "artifacts"),
        (["ARTIFACTS=mine"], {}, "mine"),
        ([], {"LATENTSERVE_ARTIFACTS": "theirs"}, "theirs"),
        (["ARTIFACTS=mine"], {"LATENTSERVE_ARTIFACTS": "theirs"}, "mine"),
    ],
)
def test_make_serve_passes_the_folder(
    given: list[str], environ: dict[str, str], folder: str
) -> None:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("LATENTSERVE_")}
    printed = subprocess.run(
        ["make", "--dry-run", "serve", *given],  # noqa: S607
        cwd=ROOT,
        env={**inherited, **environ},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"LATENTSERVE_ARTIFACTS='{folder}'" in printed


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_code_block_runs(block: Block, server: str, clone: Path) -> None:
    # In the order of the pages and in one folder: blocks may build on one another.
    if block.needs == "data":
        pytest.skip("needs a data set: make docs-check DATA=...")
    if block.needs == "serve":
        assert "make serve" in block.code  # what the fixture `server` did
        return
    run_block(block, clone, {"127.0.0.1:3000": server}, 300)


def test_every_block_says_truly_what_it_is() -> None:
    odd = [str(b) for b in BLOCKS if b.language not in RUN or b.needs not in NEEDS]
    assert not odd


def test_every_local_link_leads_somewhere() -> None:
    broken: list[str] = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)} -> {target}")
    assert not broken
