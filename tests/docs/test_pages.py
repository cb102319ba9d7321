"""A newcomer's first quarter of an hour: `make serve` in a clean copy, then every code block."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.speed.servers import Server, running
from tests.docs.blocks import (
    NEEDS,
    PAGES,
    ROOT,
    RUN,
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
    made = Server(
        ("make", "serve", "PORT={port}"),
        environment={"PYTHONPATH": ""},  # what `make serve` installs must be enough
        folder=clone,
        start_seconds=INSTALL_SECONDS,
    )
    with running(made) as started:
        yield f"127.0.0.1:{started.port}"


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
    assert f"--artifacts '{folder}'" in printed


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS}))
def test_every_code_block_runs(page: str, server: str, clone: Path) -> None:
    # A page at a time, in one folder: its blocks build on one another, whichever tests are chosen
    # and whichever process runs them. Those that need a data set: make docs-check DATA=...
    for block in BLOCKS:
        if block.page == page and block.needs == "serve":
            assert "make serve" in block.code  # what the fixture `server` did
        elif block.page == page and block.needs == "":
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
