"""The Dockerfile's words, where no engine builds it: what it copies, installs, runs and asks."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest

from benchmarks.speed.servers import Server, running
from bento import page
from bento.server.front import OPEN_PATHS
from runtime.artifact.reading import ARTIFACTS_VARIABLE, artifact_folders
from runtime.engines.cache import CACHE_VARIABLE
from tests.bento.support import FP32, ROOT
from tests.tiny import write_artifact

# One instruction a line, comments left out.
LINES = [
    re.sub(r"\\\n\s*", "", line)
    for line in re.findall(
        r"^[A-Z]+ (?:.*\\\n)*.*$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE
    )
]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = SETTINGS["project"]
BENTO = SETTINGS["tool"]["bentoml"]["build"]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
COPIED = [line.split()[1:-1] for line in LINES if line.startswith("COPY") and "--from" not in line]


def argument(name: str) -> str:
    (value,) = [v for line in LINES for v in re.findall(rf"^ARG {name}=(\S+)$", line)]
    return value


def words(instruction: str) -> list[str]:
    (value,) = [line.partition(" ")[2] for line in LINES if line.startswith(f"{instruction} ")]
    return json.loads(value)


def test_what_it_copies_is_there() -> None:
    for source in (each for sources in COPIED for each in sources):
        place = ROOT / source.replace("${ARTIFACTS}", argument("ARTIFACTS"))
        assert place.exists(), source
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert not {each for sources in COPIED for each in sources} & {*ignored}
    assert "**/*.pem" in ignored  # keys, beside artifacts too: an image is given to others
    assert artifact_folders(ROOT / argument("ARTIFACTS"))


def test_the_extras_are_those_of_the_project() -> None:
    told = re.findall(r"[a-z-]+(?:,[a-z-]+)+", (ROOT / "Dockerfile").read_text("utf-8"))
    choices = [each.split(",") for each in told if "serve" in each.split(",")]
    assert ["onnx", "openvino", "serve", "volumes"] in choices
    assert ["onnx-gpu", "serve", "volumes"] in choices
    for extras in choices:
        assert {*extras} <= PROJECT["optional-dependencies"].keys()
        assert not {"onnx", "onnx-gpu"} <= {*extras}


def test_every_format_of_the_shipped_models_is_installed() -> None:
    """`make serve`, the image and the Bento serve furniture, so they have what writes `glb`."""
    extras = {"onnx", "openvino", "serve", "volumes"}
    made = re.search(r"^\$\(SERVE\)/\.ready:(?:.*\n\t)+?.*'\.\[(.+)\]'", MAKEFILE, re.MULTILINE)
    assert made
    assert {*made[1].split(",")} == extras
    assert {*argument("EXTRAS").split(",")} == extras
    needed = {each for extra in extras for each in PROJECT["optional-dependencies"][extra]}
    # Starlette and python-multipart come with BentoML.
    packed = {*BENTO["python"]["packages"]}
    assert {"trimesh>=5"} <= packed <= needed


def test_python_is_one_that_the_project_takes() -> None:
    least = tuple(map(int, PROJECT["requires-python"].removeprefix(">=").split(".")))
    assert tuple(map(int, argument("PYTHON").split("."))) >= least
    assert sum(line.startswith("FROM python:${PYTHON}-slim") for line in LINES) == 2


def test_it_runs_the_script_as_somebody_else_than_root() -> None:
    assert words("ENTRYPOINT") == [*PROJECT["scripts"]]
    (user,) = [line.split()[1] for line in LINES if line.startswith("USER")]
    assert int(user) > 0
    assert any(f"--uid {user}" in line for line in LINES)
    (environment,) = [line for line in LINES if line.startswith("ENV")]
    assert f"{ARTIFACTS_VARIABLE}=/artifacts" in environment
    assert f"{CACHE_VARIABLE}=/home/" in environment
    assert any(line.endswith(" /artifacts") for line in LINES if line.startswith("COPY"))


def test_the_port_and_the_path_of_its_health_are_the_service_s() -> None:
    command = words("CMD")
    assert command[:3] == ["serve", "--host", "0.0.0.0"]  # noqa: S104 - inside the container
    port = command[command.index("--port") + 1]
    assert f"EXPOSE {port}" in LINES
    (health,) = [line for line in LINES if line.startswith("HEALTHCHECK")]
    (asked, path) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", health)[0]
    assert asked == port
    assert path in OPEN_PATHS
    assert path == "/livez"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what pip installs of the copied files, and nothing else of the checkout."""
    source, target = (tmp_path_factory.mktemp(name) for name in ("source", "installed"))
    for name in (each for sources in COPIED[:-1] for each in sources):
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--target", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=200)
    return target


def test_what_it_installs_serves_with_its_page(installed: Path, tmp_path: Path) -> None:
    write_artifact(tmp_path / "artifacts", "vae")
    command = words("CMD")
    command[command.index("--host") + 1] = "127.0.0.1"
    command[command.index("--port") + 1] = "{port}"
    # Before `-P -c`, as in an environment: PYTHONPATH holds the packages alone.
    script = "import sys; from runtime.console import main; sys.exit(main())"
    server = Server(
        (sys.executable, "-P", "-c", script, *command),
        environment={
            **FP32,
            "LATENTSERVE_LOAD_SECONDS": "0",
            ARTIFACTS_VARIABLE: str(tmp_path / "artifacts"),
            "PYTHONPATH": str(installed),
        },
        folder=tmp_path,
    )
    with running(server) as started:
        shown = httpx.get(started.url)
        assert shown.status_code == 200
        loaded = re.findall(r'(?:src|href)="(page/[^"]+)"', shown.text)
        assert loaded
        for file in loaded:
            assert httpx.get(f"{started.url}/{file}").status_code == 200, file
        names = {path.name for path in Path(page.__file__).parent.rglob("*.js")}
        assert names == {path.name for path in (installed / "bento" / "page").rglob("*.js")}
        assert httpx.post(f"{started.url}/sample", json={"seed": 1}).status_code == 200
