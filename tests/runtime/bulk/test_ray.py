"""Bulk jobs by workers on Ray: the bytes of one process. Most of it needs the extra `ray`."""

import json
import os
import shutil
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import InputError, bulk
from runtime.__main__ import main
from runtime.bulk.ray_data import Share, shared
from runtime.machine import cores
from tests.apart import can_be_apart, run_apart
from tests.runtime.bulk.ray_local import ENGINE
from tests.runtime.bulk.test_jobs import OPTIONS, contents
from tests.runtime.bulk.test_samples import command
from tests.tiny import write_artifact

# Several Rays at once take more memory than a small machine has.
pytestmark = pytest.mark.xdist_group("ray")
SECONDS = 200


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_artifact(tmp_path_factory.mktemp("artifacts"), "conditional").parent


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs a module apart; what it printed."""
    pytest.importorskip("ray.data", reason="no Ray Data: install the extra `ray`")
    if not can_be_apart():
        pytest.skip("no network namespace (unshare) for Ray here")
    home = tmp_path_factory.mktemp("home")

    def run(module: str, *arguments: str) -> str:
        command = ("python", "-m", module, *arguments)
        done = run_apart(*command, environment=os.environ, home=home, seconds=SECONDS)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    return run


def test_workers_and_functions_on_ray(apart: Any, artifact: Path, tmp_path: Path) -> None:
    printed = apart("tests.runtime.bulk.ray_local", str(artifact), str(tmp_path))
    told = json.loads(printed.splitlines()[-1])
    assert told["workers"] == cores()
    assert told["made"] == [{"doubled": 2 * number} for number in range(7, 40)]
    assert told["refused"] == [
        "call: expected another, found this", "group: expected another, found 2",
    ]  # fmt: skip
    assert (tmp_path / "died").exists()
    assert told["again"] == [{"number": number} for number in range(6)]
    assert told["listening"] == ["0000000000000000FFFF00000100007F", "0100007F"]

    sample = bulk.Sample(artifact, seed=7, **ENGINE)
    expected = sample({"index": np.arange(50)})
    made = {name: np.load(tmp_path / f"{name}.npy") for name in expected}
    assert made["index"].tolist() == list(range(50))
    assert made["label"].tolist() == expected["label"].tolist()
    assert np.abs(made["image"].astype(int) - expected["image"]).max() <= 1


def test_a_killed_job_goes_on_with_and_without_workers(
    apart: Any, artifact: Path, tmp_path: Path
) -> None:
    options = ("-n", 500, "--seed", 7, "--group", 20, "--batch", 8, "--continue")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main(command(artifact, whole, *options)) == 0
    ray = ("--ray", "local", "--workers", 2)
    apart("tests.runtime.bulk.killed", str(cut), *command(artifact, cut, *options, *ray))
    lines = (cut / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    assert 2 <= len(lines) < 25
    # One group less, as if the kill had come before its line; and what a dead worker leaves.
    (cut / "ledger.jsonl").write_bytes(b"".join(lines[:-1]))
    (cut / ".making" / "left").mkdir(parents=True, exist_ok=True)
    (cut / ".making" / "left" / "000000.tar").touch()
    apart("runtime", *command(artifact, cut, *options, *ray))
    assert contents(cut) == contents(whole)

    (cut / "ledger.jsonl").write_bytes(b"".join(lines[:2]))
    assert main(command(artifact, cut, *options)) == 0
    assert contents(cut) == contents(whole)


def test_pictures_by_workers(
    apart: Any, sized_artifact: Path, pictures: Path, tar: Path, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    shutil.copy(tar, tmp_path / "more.tar")
    given = ["encode", str(sized_artifact), str(pictures), str(tmp_path / "more.tar"), *OPTIONS]
    given += ["--shards", "--group", "7", "--buckets", "24", "--seed", "3"]
    assert main([*given, "-o", f"{whole}/"]) == 0
    shutil.copytree(whole, cut)
    lines = (whole / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 18
    (cut / "ledger.jsonl").write_bytes(b"".join(lines[:3]))
    for line in lines[3:]:
        for shard in json.loads(line)["shards"]:
            (cut / shard["file"]).unlink()
    (cut / ".open" / "000003").mkdir(parents=True)
    ray = ("--continue", "--ray", "local", "--workers", "2")
    apart("runtime", *given, "-o", f"{cut}/", *ray)
    assert contents(cut) == contents(whole)


def test_without_ray_the_extra_is_named(
    artifact: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(command(artifact, tmp_path / "out", "-n", 5, "--ray", "local")) == 2
    said = capsys.readouterr().err
    assert "--ray: expected the package ray (run pip install '.[ray]' in" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("reply", [b"HTTP/1.0 400 Bad Request\r\n\r\n", b""])
def test_a_listener_that_is_not_ray(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], reply: bytes
) -> None:
    pytest.importorskip("ray", reason="no Ray: install the extra `ray`")
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        address = f"127.0.0.1:{server.getsockname()[1]}"

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(reply)

        answered = pool.submit(answer)
        assert main(command(artifact, tmp_path / "out", "-n", 5, "--ray", address)) == 2
        answered.result(10)
    (said,) = capsys.readouterr().err.splitlines()
    assert f"found '{address}' (something else listens there)" in said


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "nowhere", "127.0.0.1:99999999"])
def test_an_address_without_ray_is_one_line(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    pytest.importorskip("ray", reason="no Ray: install the extra `ray`")
    with socket.socket() as bound:  # nobody listens
        bound.bind(("127.0.0.1", 0))
        given = address.format(port=bound.getsockname()[1])
        assert main(command(artifact, tmp_path / "out", "-n", 5, "--ray", given)) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "--ray: expected `local`, `auto`, or host:port of a running Ray cluster" in said
    assert given in said
    assert not (tmp_path / "out").exists()


def test_options_of_workers_need_shards(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in (("--ray", "local"), ("--workers", "2")):
        plain = command(artifact, tmp_path / "plain", *option)
        plain.remove("--shards")
        assert main(plain) == 2
        assert f"{option[0]}: expected --shards with it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("nodes", "workers", "device", "expected"),
    [
        ([{"CPU": 2}], None, "auto", Share(2, 1)),
        ([{"CPU": 8}], 2, "auto", Share(2, 4)),
        ([{"CPU": 8}, {"CPU": 8}], 3, "cpu", Share(3, 4)),
        ([{"CPU": 8, "GPU": 1}, {"CPU": 4, "GPU": 2}], None, "auto", Share(3, 2, 1)),
        ([{"CPU": 8, "GPU": 1}, {"CPU": 4}], None, "cuda", Share(1, 8, 1)),
        ([{"CPU": 8, "GPU": 1}, {"CPU": 4}], None, "cpu", Share(12, 1)),
    ],
)
def test_shares(nodes: Any, workers: int | None, device: Any, expected: Share) -> None:
    assert shared(nodes, workers, device) == expected


def test_too_many_workers_are_refused() -> None:
    with pytest.raises(InputError, match="at most 3, one for each core of the cluster, found 4"):
        shared([{"CPU": 2}, {"CPU": 1}], 4, "auto")
    with pytest.raises(InputError, match="at most 1, one for each GPU of the cluster, found 2"):
        shared([{"CPU": 2, "GPU": 1}], 2, "cuda")
    with pytest.raises(InputError, match="device: expected a Ray cluster with GPUs"):
        shared([{"CPU": 2}], None, "cuda")
