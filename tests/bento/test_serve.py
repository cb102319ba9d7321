"""`latentserve serve` and `bundle`: from any folder, whatever lies in it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from benchmarks.speed.servers import Running, Server, free_port, running
from bento.commands import bundle
from bento.commands.serve import artifacts_folder, main
from export.sign import make_keys, sign
from tests.bento.support import FP32, ROOT, WAIT
from tests.tiny import write_artifact

pytestmark = pytest.mark.xdist_group("serve")

KEY = "a key of 22 characters"
SCRIPT = "import sys; from runtime.console import main; sys.exit(main())"
COMMAND = (sys.executable, "-P", "-c", SCRIPT)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: artifacts, a key, and packages whose names are ours."""
    folder = tmp_path_factory.mktemp("elsewhere")
    make_keys(folder / "maker.pem")
    sign(write_artifact(folder / "mine", "vae"), folder / "maker.pem")
    (folder / "key.txt").write_text(f"{KEY}\n")
    (folder / "bytes").write_bytes(b"\xff" * 32)
    (folder / "nul").write_bytes(KEY.encode() + b"\0")
    for name in ("runtime", "bento", "bentoml"):
        (folder / f"{name}.py").write_text(f"raise SystemExit('their {name}.py was imported')")
    return folder


@pytest.fixture(scope="module")
def served(elsewhere: Path) -> Iterator[Running]:
    options = ("--artifacts", "mine", "--api-key-file", "key.txt", "--port", "{port}")
    environment = {
        **FP32,
        "LATENTSERVE_LOAD_SECONDS": "0",
        "LATENTSERVE_SIGNED_BY": "maker.pub.pem",
        "PYTHONPATH": str(ROOT),
    }
    command = (*COMMAND, "serve", *options)
    with running(Server(command, environment=environment, folder=elsewhere)) as server:
        yield server


def test_it_serves_the_folder_behind_the_key(served: Running) -> None:
    assert httpx.get(f"{served.url}/models").status_code == 401
    reply = httpx.get(f"{served.url}/models", headers={"Authorization": f"Bearer {KEY}"})
    assert [model["name"] for model in reply.json()["models"]] == ["tiny-vae"]


def test_places_are_those_of_the_folder_that_it_is_started_in(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of the one in which BentoML starts its workers: they would not find the key, and would
    write what they measure among the packages."""
    given: dict[str, str] = {}
    monkeypatch.setattr(os, "execve", lambda path, words, environment: given.update(environment))
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("LATENTSERVE_SIGNED_BY", "maker.pub.pem")
    monkeypatch.setenv("LATENTSERVE_CACHE", "measured")
    main(["--artifacts", "mine", "--port", str(free_port())])
    assert given["LATENTSERVE_ARTIFACTS"] == str(elsewhere / "mine")
    assert given["LATENTSERVE_SIGNED_BY"] == str(elsewhere / "maker.pub.pem")
    assert given["LATENTSERVE_CACHE"] == str(elsewhere / "measured")


def test_it_listens_on_the_loopback_alone(served: Running) -> None:
    processes = psutil.Process(served.process.pid)
    family = [processes, *processes.children(recursive=True)]
    sockets = [c for each in family for c in each.net_connections("tcp") if c.status == "LISTEN"]
    addresses = {c.laddr.ip for c in sockets if c.laddr.port == served.port}
    assert addresses == {"127.0.0.1"}


def test_a_link_to_the_folder_stays_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the service would not see that it leads to newer versions."""
    (tmp_path / "first").mkdir()
    (tmp_path / "current").symlink_to("first")
    monkeypatch.chdir(tmp_path)
    assert artifacts_folder(Path("current")) == tmp_path / "current"


def test_a_signal_to_the_command_ends_the_server(elsewhere: Path) -> None:
    environment = {**FP32, "LATENTSERVE_LOAD_SECONDS": "0", "PYTHONPATH": str(ROOT)}
    command = (*COMMAND, "serve", "--artifacts", "mine", "--port", "{port}")
    with running(Server(command, environment=environment, folder=elsewhere)) as server:
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(WAIT)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{server.url}/livez")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--artifacts", "none"], "--artifacts: expected a folder of artifacts, found none at no"),
        (["--artifacts", "mine", "--api-key-file", "none.txt"], "No such file or directory: 'none"),
        (["--artifacts", "mine", "--api-key-file", "bytes"], "--api-key-file: expected text in"),
        (["--artifacts", "mine", "--api-key-file", "nul"], "--api-key-file: expected text in"),
        (["--artifacts", "mine", "--port", "0"], "--port: expected 1 to 65535, found 0"),
        (["--artifacts", "mine", "--port", "70000"], "--port: expected 1 to 65535, found 70000"),
        (
            ["--artifacts", "mine", "--host", "nowhere.invalid"],
            "--host: expected an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all, "
            "found 'nowhere.invalid'",
        ),
        # Of a network for documentation (RFC 5737): it is nobody's.
        (["--artifacts", "mine", "--host", "192.0.2.1"], "found '192.0.2.1'"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    arguments: list[str],
    expected: str,
    elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(elsewhere)
    assert main(arguments, "latentserve serve") == 2
    error = capsys.readouterr().err
    assert error.startswith("latentserve serve: ")
    assert expected in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_that_is_taken_is_one_line(host: str, elsewhere: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = subprocess.run(
            [*COMMAND, "serve", "--artifacts", "mine", "--host", host, "--port", str(port)],
            cwd=elsewhere,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"latentserve serve: --port: {port} is taken")
    assert "choose another: --port " in line


def test_a_bundle_of_another_folder(elsewhere: Path, tmp_path: Path) -> None:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("LATENTSERVE_")}
    for key in ("secret.pem", "tiny-vae/secret.pem"):  # a Bento is given to others
        (elsewhere / "mine" / key).write_text("a private key")
    (elsewhere / "mine" / "LICENSES.md").write_text("of the weights")
    # Of the machine that will serve: this one has neither.
    of_another = {"LATENTSERVE_WORKERS": "1000", "LATENTSERVE_SIGNED_BY": "/etc/theirs.pem"}
    done = subprocess.run(
        [*COMMAND, "bundle", "--artifacts", "mine"],
        cwd=elsewhere,
        env={
            **inherited,
            **of_another,
            "BENTOML_HOME": str(tmp_path),
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    tag = done.stdout.strip()
    name, _, version = tag.partition(":")
    source = tmp_path / "bentos" / name / version / "src"
    packed = {path.name for path in (source / "artifacts").iterdir()}
    assert packed == {"LICENSES.md", "tiny-vae"}
    assert not list(source.rglob("*.pem"))
    assert (source / "artifacts/tiny-vae/1/manifest.json").is_file()
    for needed in ("bento/page/index.html", "runtime/engines/nvidia/normals.cu", "README.md"):
        assert (source / needed).is_file(), needed
    assert not list(source.rglob("__pycache__"))
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"{tag}: the service and 1 artifact of {elsewhere / 'mine'}; next: ")
    assert last.endswith(f"bentoml serve {tag}")


def test_ctrl_c_ends_a_bundle_with_one_line(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle, "_build", interrupted)
    assert bundle.main(["--artifacts", str(elsewhere / "mine")]) == 130
    assert capsys.readouterr().err == "stopped\n"


def test_an_empty_folder_is_no_bundle(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "bundle", "--artifacts", "."],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "--artifacts: expected <name>/<version>/ in it, found none" in done.stderr
