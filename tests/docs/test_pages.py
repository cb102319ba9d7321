"""A newcomer's first quarter of an hour: `make serve` in a clean copy, then every code block."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from benchmarks.speed.servers import Server, running
from tests.apart import can_be_apart, run_apart
from tests.bento.support import FP32
from tests.docs.blocks import (
    BACKGROUND,
    PAGES,
    RAY,
    ROOT,
    Block,
    copy_repository,
    program,
    read_blocks,
    run_block,
)
from tests.docs.prepared import prepared

BLOCKS = [block for page in PAGES for block in read_blocks(page)]
INSTALL_SECONDS = 400.0  # a generous bound for pip on a slow line, never a measurement
SETTINGS = {**FP32, "LATENTSERVE_LOAD_SECONDS": "0"}

PORT = "127.0.0.1:3000"
ASKING = {block.page for block in BLOCKS if re.search(r":3000\b", block.code)}
"""Pages whose blocks ask `make serve`. All others run on whichever process is free."""
TORCH = re.compile(r"import torch|python -m (?:train|export) (?!keys|sign)")

pytestmark = pytest.mark.timeout(600)
served = pytest.mark.xdist_group("docs")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_repository(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def server(clone: Path) -> Iterator[str]:
    """The address of `make serve` in the clean copy, its environment made from nothing."""
    made = Server(
        ("make", "serve", "PORT={port}"),
        # What `make serve` installs must be enough. Most of its files are never run.
        environment={"PYTHONPATH": "", "PIP_COMPILE": "no"},
        folder=clone,
        start_seconds=INSTALL_SECONDS,
    )
    with running(made) as started:
        yield f"127.0.0.1:{started.port}"


@pytest.fixture
def folder(clone: Path, tmp_path: Path) -> Path:
    """A page's own copy of the repository, so that no page finds what another one made."""
    for entry in clone.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    return tmp_path


@pytest.fixture(scope="module")
def python_with_torch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with prepared(tmp_path_factory.mktemp("prepared")) as python:
        yield python


def test_a_prepared_python_is_one(python_with_torch: Path, tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("WORD = 'beside'")
    told = "import beside, os, sys; print(sys.argv, os.environ['A'], os.getcwd(), sys.stdin.read())"
    (tmp_path / "block.py").write_text(f"{told}; print(__name__, beside.WORD); sys.exit(7)")
    done = subprocess.run(
        [python_with_torch, "block.py", "given"],
        cwd=tmp_path,
        env={**os.environ, "A": "set"},
        input="read",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 7, done.stderr
    assert done.stdout == f"['block.py', 'given'] set {tmp_path} read\n__main__ beside\n"
    ours = (
        "import sys; print({'runtime', 'export', 'train'} & {*sys.modules}, 'torch' in sys.modules)"
    )
    done = subprocess.run([python_with_torch, "-c", ours], capture_output=True, text=True)
    assert done.stdout == "set() True\n"  # what is ours comes from where a command runs


@served
def test_the_serving_environment_holds_no_torch(server: str, clone: Path) -> None:
    names = subprocess.run(
        [clone / ".venv-serve/bin/python", "-m", "pip", "list", "--format=freeze"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.search(r"^bentoml==", names, re.MULTILINE)
    assert not re.search(r"^(torch|onnxscript|tensorboard)\b", names, re.MULTILINE)


@served
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


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[served] if page in ASKING else [])
        for page in sorted({block.page for block in BLOCKS if block.reason is None})
    ],
)
def test_every_code_block_runs(page: str, folder: Path, request: pytest.FixtureRequest) -> None:
    # A page at a time, in one folder: its blocks build on one another, whichever tests are chosen
    # and whichever process runs them. Those that need a data set: make docs-check DATA=...
    blocks = [block for block in BLOCKS if block.page == page and block.reason is None]
    addresses: dict[str, str] = {}
    if page in ASKING:
        addresses |= dict.fromkeys((PORT, "localhost:3000"), request.getfixturevalue("server"))
    python = Path(sys.executable)
    if any(TORCH.search(block.code) for block in blocks):
        python = request.getfixturevalue("python_with_torch")
    with ExitStack() as servers:
        for block in blocks:
            if block.mark != BACKGROUND:
                run_block(block, folder, addresses, 300, python)
            elif "make serve" not in block.code:  # which the fixture `server` did
                made, port = _server(block, folder)
                started = servers.enter_context(running(made))
                addresses[f"127.0.0.1:{port}"] = f"127.0.0.1:{started.port}"


def test_blocks_for_ray_run(folder: Path) -> None:
    pytest.importorskip("ray.data", reason="no Ray Data: install the extra `ray`")
    if not can_be_apart():
        pytest.skip("no network namespace (unshare) for Ray here")
    for block in (block for block in BLOCKS if block.reason == RAY):
        program = ("python", "-c") if block.language == "python" else ("bash", "-euc")
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        given = *program, block.code
        done = run_apart(*given, environment=environment, home=folder, seconds=300, folder=folder)
        assert done.returncode == 0, f"{block}:\n{done.stdout}\n{done.stderr}"


def _server(block: Block, folder: Path) -> tuple[Server, str]:
    """The server that a block starts, on a free port, and the port that it names."""
    module, arguments = program(shlex.split(block.code, comments=True))
    (port,) = re.findall(r"--port (\d+)", block.code)
    free = ("{port}" if word == port else word for word in arguments)
    command = (sys.executable, "-m", module, *free)
    return Server(command, environment=SETTINGS, folder=folder), port


def test_the_contents_of_the_longest_page_are_whole() -> None:
    text = (ROOT / "docs" / "http.md").read_text("utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    (line,) = re.findall(r"^Contents: (.+)$", text, re.MULTILINE)
    listed = re.findall(r"\[([^]]+)\]\(#([^)]+)\)", line)
    assert [title.lower() for title, _ in listed] == [heading.lower() for heading in headings]
    plain = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert [anchor for _, anchor in listed] == plain
