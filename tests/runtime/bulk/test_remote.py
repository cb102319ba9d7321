"""Sources and shards at URLs: the same bytes as in folders, and jobs that go on."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import fsspec.config
import pytest

from runtime.__main__ import main
from runtime.bulk import places
from runtime.bulk.ledger import LEDGER
from runtime.bulk.places import opened
from runtime.bulk.sources import find
from runtime.errors import InputError
from tests.runtime.bulk.conftest import PICTURES
from tests.runtime.bulk.test_jobs import OPTIONS, contents
from tests.tiny import write_artifact


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """A bucket of a real S3 server on loopback, where moto and s3fs are installed."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", port=0)
    pytest.importorskip("s3fs")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    given = {"endpoint_url": f"http://{host}:{port}", "key": "key", "secret": "secret"}
    fsspec.config.conf["s3"] = given
    fsspec.filesystem("s3").mkdir("bucket")
    yield "s3://bucket"
    del fsspec.config.conf["s3"]
    server.stop()


@pytest.fixture(params=["memory", "local", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty folder of each file system."""
    if request.param == "memory":
        return f"memory:/{tmp_path}"
    if request.param == "local":
        return f"local://{tmp_path}/remote"
    return f"{request.getfixturevalue('s3')}{tmp_path}"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_artifact(tmp_path_factory.mktemp("artifacts"), "conditional").parent


def at(url: str) -> dict[str, bytes]:
    """Every file of a folder, by its path in it."""
    system, path = fsspec.url_to_fs(url)
    system.invalidate_cache()
    prefix = f"{system._strip_protocol(path)}/"
    return {name.removeprefix(prefix): system.cat_file(name) for name in system.find(path)}


def upload(folder: Path, url: str) -> None:
    system, path = fsspec.url_to_fs(url)
    for file in folder.rglob("*"):
        if file.is_file():
            name = f"{path}/{file.relative_to(folder)}"
            system.makedirs(name.rpartition("/")[0], exist_ok=True)
            system.put_file(str(file), name)


def run(command: str, artifact: Path, *options: object) -> int:
    return main([str(each) for each in (command, artifact, "--shards", *OPTIONS, *options)])


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_samples_are_those_of_a_folder(
    artifact: Path, tmp_path: Path, root: str, kind: str
) -> None:
    given = ("-n", 50, "--seed", 7, "--group", 20, "--format", kind)
    assert run("sample", artifact, *given, "-o", f"{tmp_path}/here/") == 0
    assert run("sample", artifact, *given, "-o", f"{root}/there/") == 0
    assert at(f"{root}/there") == contents(tmp_path / "here")


class StoppedError(Exception):
    """Raised by a test in the middle of a job."""


@pytest.mark.parametrize("puts", [2, 3, 4, 5])
def test_a_stopped_job_goes_on(
    artifact: Path, tmp_path: Path, root: str, puts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request, what was skipped; then a shard, the ledger, ...: each is put, or never was."""
    given = ("-n", 50, "--seed", 7, "--group", 20, "--continue")
    assert run("sample", artifact, *given, "-o", f"{tmp_path}/here/") == 0
    put, left = places.Remote.put, puts

    def stop(self: places.Remote, path: Path) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise StoppedError
        put(self, path)

    with monkeypatch.context() as patched:
        patched.setattr(places.Remote, "put", stop)
        with pytest.raises(StoppedError):
            run("sample", artifact, *given, "-o", f"{root}/there/")
    shards = [name for name in at(f"{root}/there") if name.endswith(".tar")]
    assert len(shards) == (puts - 1) // 2
    before = at(f"{root}/there")
    assert run("sample", artifact, *given, "--scale", 2, "-o", f"{root}/there/") == 2
    assert at(f"{root}/there") == before
    assert run("sample", artifact, *given, "-o", f"{root}/there/") == 0
    assert at(f"{root}/there") == contents(tmp_path / "here")


def test_pictures_of_urls(
    sized_artifact: Path, pictures: Path, tar: Path, table: Path, tmp_path: Path, root: str
) -> None:
    upload(pictures, f"{root}/pictures")
    upload(tar.parent, f"{root}/tars")
    upload(table.parent, f"{root}/tables")
    given = ("--size", "16", "--group", 25)
    assert run("encode", sized_artifact, pictures, *given, "-o", f"{tmp_path}/here/") == 0
    for source in ("pictures", "tars/pictures.tar", "tars/*.tar", "tables/*.parquet"):
        out = f"{root}/{len(source)}"
        assert run("encode", sized_artifact, f"{root}/{source}", *given, "-o", out) == 0
        assert at(out) == contents(tmp_path / "here")


def test_a_store_that_fails_ends_the_job(
    sized_artifact: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Else all pictures from then on would be skipped, for ever."""
    source, given = f"memory:/{tmp_path}/pictures", ("--size", "16", "--group", 25, "--continue")
    upload(pictures, source)
    system = type(fsspec.filesystem("memory"))  # each thread has its own
    read, out = system.cat_file, tmp_path / "out"

    def fail(self: Any, path: str, **bounds: int) -> bytes:
        if "x y" in path:
            raise ConnectionError("no answer")
        return read(self, path, **bounds)

    with monkeypatch.context() as patched:
        patched.setattr(system, "cat_file", fail)
        assert run("encode", sized_artifact, source, *given, "-o", f"{out}/") == 2
    assert "(ConnectionError: no answer)" in capsys.readouterr().err
    assert run("encode", sized_artifact, source, *given, "-o", f"{out}/") == 0
    assert run("encode", sized_artifact, pictures, *given, "-o", f"{tmp_path}/here/") == 0
    assert contents(out) == contents(tmp_path / "here")


def test_copies_are_made_ahead_and_deleted(
    pictures: Path, tar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, copies = f"memory:/{tmp_path}", tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(copies))
    for name in ("a", "b", "c"):
        fsspec.filesystem("memory").pipe_file(f"{root}/{name}.tar", tar.read_bytes())
    found = find([f"{root}/*.tar"])
    assert found.total is None
    keys = [item.key for item in find([pictures]).items]
    seen: list[str] = []
    for item in found.items:
        assert len(list(copies.iterdir())) <= 2 + (item.key[0] == "a")
        seen.append(item.key)
        if not item.key.endswith("0007"):
            item.read(1 << 20)
    assert seen == [f"{name}/{key}" for name in "abc" for key in keys]
    assert len(seen) == 3 * PICTURES
    del item
    assert not list(copies.iterdir())


def test_a_job_is_begun_anew_by_force_alone(
    artifact: Path, tmp_path: Path, root: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = f"{root}/out"
    assert run("sample", artifact, "-n", 50, "--group", 20, "-o", out) == 0
    system, path = fsspec.url_to_fs(out)
    system.pipe_file(f"{path}/notes.txt", b"mine")
    before = at(out)
    assert run("sample", artifact, "-n", 9, "-o", out) == 2
    assert "or --continue to go on with it" in capsys.readouterr().err
    assert run("sample", artifact, "-n", 9, "-o", out, "--continue") == 2
    assert f"found {out} of group 20, n 50\n" in capsys.readouterr().err
    assert at(out) == before
    assert run("sample", artifact, "-n", 9, "-o", out, "--force") == 0
    assert run("sample", artifact, "-n", 9, "-o", f"{tmp_path}/fresh/") == 0
    assert at(out) == contents(tmp_path / "fresh") | {"notes.txt": b"mine"}


def test_no_bucket_is_made(
    artifact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise FileNotFoundError("no such bucket")

    system = fsspec.filesystem("memory")
    monkeypatch.setattr(type(system), "put_file", fail)
    assert run("sample", artifact, "-n", 5, "-o", "memory://no-bucket/out") == 2
    assert "(FileNotFoundError: no such bucket)" in capsys.readouterr().err
    assert not system.exists("/no-bucket")


def test_what_cannot_be_reached_is_refused(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options, words in {
        ("-o", "nosuch://bucket/out"): "out: expected a URL that can be reached, found nosuch://",
        ("-o", "memory://out", "--ray", "local"): "which all workers share",
    }.items():
        assert run("sample", artifact, "-n", 5, *options) == 2
        assert words in capsys.readouterr().err
    for place in ("memory://no/such", "memory://no/*.tar"):
        with pytest.raises(InputError, match="images: expected"):
            find([place])
    with pytest.raises(InputError, match="images: expected a URL that can be reached"):
        list(find(["memory://no/such.tar"]).items)
    assert main(["sample", str(artifact), "-n", "5", "-o", "memory://a.png"]) == 2
    assert "--shards: expected it, with URLs" in capsys.readouterr().err


def test_a_package_that_is_missing_is_named(
    artifact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    assert run("sample", artifact, "-n", 5, "-o", "memory://out") == 2
    assert "pip install '.[remote]' in" in capsys.readouterr().err


def test_a_shard_leaves_the_disk_once_it_is_put(tmp_path: Path) -> None:
    with opened(f"memory:/{tmp_path}") as place:
        for name in ("000000.tar", LEDGER):
            (place.folder / name).write_bytes(b"whole")
            place.put(name)
        assert contents(place.folder) == {LEDGER: b"whole"}
        assert at(f"memory:/{tmp_path}") == {"000000.tar": b"whole", LEDGER: b"whole"}
    assert not place.folder.exists()
