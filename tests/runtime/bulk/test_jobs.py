"""Bulk jobs from end to end: what is in the shards, and that any kill leaves the same bytes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

import runtime
from runtime.__main__ import main
from runtime.bulk.buckets import buckets, nearest, nearest_of
from runtime.bulk.encoder import Encoder, seed_of
from runtime.bulk.ledger import Ledger
from runtime.bulk.pictures import Picture
from runtime.bulk.pipeline import Bulk
from runtime.bulk.places import opened
from runtime.bulk.sources import find
from runtime.bulk.spool import Spool
from runtime.images import fit, open_image, upright_size
from runtime.requests.pictures import picture_spec
from tests.runtime.bulk.conftest import DAMAGED, PICTURES

OPTIONS = ("--backend", "onnxruntime", "--precision", "fp32", "--runners", "2")


def encode(artifact: Path, source: Path, out: Path, *options: object) -> int:
    given = ["encode", artifact, source, "--shards", "-o", f"{out}/", *OPTIONS, *options]
    return main([str(each) for each in given])


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by its path in it."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def rows(out: Path) -> dict[str, dict[str, NDArray[Any]]]:
    """Key -> its row of every tensor, of all shards."""
    found: dict[str, dict[str, NDArray[Any]]] = {}
    for path in sorted(out.glob("*.safetensors")):
        with safetensors.safe_open(path, "np") as file:
            keys: list[str] = json.loads(file.metadata()["keys"])
        arrays = safetensors.numpy.load_file(path)
        assert not found.keys() & {*keys}
        for i, key in enumerate(keys):
            found[key] = {name: array[i] for name, array in arrays.items()}
    return found


def test_a_source_is_never_among_the_shards(
    sized_artifact: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --force it would be deleted, without it be overwritten while it is read."""
    with tarfile.open(tmp_path / "000000.tar", "w") as tar:
        tar.add(pictures, "pictures")
    before = (tmp_path / "000000.tar").read_bytes()
    for option in ("--force", "--continue"):
        assert encode(sized_artifact, tmp_path / "000000.tar", tmp_path, option) == 2
        error = capsys.readouterr().err
        assert f"found {tmp_path}, where 000000.tar is to be read" in error
    assert contents(tmp_path) == {"000000.tar": before}


def test_a_folder_without_pictures_is_refused(
    sized_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of tars, whose pictures nobody would have read."""
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "000000.tar").write_bytes(bytes(10240))
    assert encode(sized_artifact, tmp_path / "shards", tmp_path / "out") == 2
    assert "expected a folder of pictures, a .tar or a .parquet" in capsys.readouterr().err
    assert not (tmp_path / "out" / "ledger.jsonl").exists()


def test_rows_are_what_the_library_gives(
    sized_artifact: Path, sized: runtime.Model, pictures: Path, tmp_path: Path
) -> None:
    assert encode(sized_artifact, pictures, tmp_path, "--buckets", 24, "--group", 25) == 0
    found, sizes = rows(tmp_path), buckets(sized.manifest, 24)
    assert len(found) == PICTURES - 1
    for item in find([pictures]).items:
        if item.key == DAMAGED:
            continue
        row, image = found[item.key], open_image(item.read(1 << 20))
        size = upright_size(image)
        assert row["size"].tolist() == list(size)
        bucket = nearest(sizes, size)
        posterior = sized.encode(
            fit(image, picture_spec(sized.manifest, "encode", bucket, bucket))[None]
        )
        np.testing.assert_allclose(row["mean"], posterior.mean[0], atol=1e-4)
        np.testing.assert_allclose(row["log_variance"], posterior.log_variance[0], atol=1e-4)
        top, left, height, width, scale = row["crop"]
        assert height * scale == pytest.approx(bucket[0], rel=1e-5)
        assert width * scale == pytest.approx(bucket[1], rel=1e-5)
        assert 2 * top + height == pytest.approx(size[0], rel=1e-5)
        assert 2 * left + width == pytest.approx(size[1], rel=1e-5)
        assert min(top, left) == 0
    (skipped,) = (tmp_path / "skipped.jsonl").read_text().splitlines()
    assert json.loads(skipped)["key"] == DAMAGED
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert [line["pictures"] for line in lines] == [25, 25, 10]
    assert sum(shard["rows"] for line in lines for shard in line["shards"]) == PICTURES - 1


def test_a_tar_and_a_table_give_the_same_bytes(
    sized_artifact: Path, pictures: Path, tar: Path, table: Path, tmp_path: Path
) -> None:
    for name, source in (("folder", pictures), ("tar", tar), ("table", table)):
        assert encode(sized_artifact, source, tmp_path / name, "--size", "24") == 0
    expected = contents(tmp_path / "folder")
    assert contents(tmp_path / "tar") == contents(tmp_path / "table") == expected


def test_npz_in_halves(sized_artifact: Path, pictures: Path, tmp_path: Path) -> None:
    for name, options in (("full", ()), ("half", ("--dtype", "float16"))):
        given = ("--size", "16x24", "--format", "npz", *options)
        assert encode(sized_artifact, pictures, tmp_path / name, *given) == 0
    with (
        np.load(tmp_path / "full" / "000000-16x24.npz") as full,
        np.load(tmp_path / "half" / "000000-16x24.npz") as half,
    ):
        assert full["mean"].shape == (PICTURES - 1, 2, 8, 12)
        assert half["mean"].dtype == np.float16
        np.testing.assert_array_equal(half["mean"], full["mean"].astype(np.float16))
        assert full["keys"].tolist() == half["keys"].tolist()


def test_parquet_has_the_rows_of_safetensors(
    sized_artifact: Path, pictures: Path, tmp_path: Path
) -> None:
    given = ("--buckets", 24, "--dtype", "float16", "--group", 25)
    assert encode(sized_artifact, pictures, tmp_path / "a", *given) == 0
    assert encode(sized_artifact, pictures, tmp_path / "b", *given, "--format", "parquet") == 0
    expected, found = rows(tmp_path / "a"), 0
    for path in sorted((tmp_path / "b").glob("*.parquet")):
        table = pyarrow.parquet.read_table(path)
        for row in table.to_pylist():
            key, found = row.pop("key"), found + 1
            assert row.keys() == expected[key].keys()
            for name, values in row.items():
                np.testing.assert_array_equal(values, expected[key][name].reshape(-1))
    assert found == len(expected) == PICTURES - 1


def test_tiles_where_they_are_asked_for(
    sized_artifact: Path, sized: runtime.Model, pictures: Path, tmp_path: Path
) -> None:
    assert encode(sized_artifact, pictures, tmp_path / "a", "--size", "96x80") == 2
    assert encode(sized_artifact, pictures, tmp_path / "b", "--size", "96x80", "--tile", 32) == 0
    found = rows(tmp_path / "b")
    spec = picture_spec(sized.manifest, "encode", (96, 80), (96, 80), tile=32)
    item = next(iter(find([pictures]).items))
    image = fit(open_image(item.read(1 << 20)), spec)
    posterior = sized.encode(image[None], tile=32)
    assert posterior.mean.shape == (1, 2, 48, 40)
    np.testing.assert_allclose(found[item.key]["mean"], posterior.mean[0], atol=1e-4)


def test_a_draw_depends_on_seed_and_key_alone(
    sized_artifact: Path, sized: runtime.Model, pictures: Path, tmp_path: Path
) -> None:
    assert encode(sized_artifact, pictures, tmp_path / "a", "--size", "16", "--seed", 5) == 0
    assert encode(sized_artifact, pictures / "x y", tmp_path / "b", "--size", "16") == 0
    drawn, posterior = rows(tmp_path / "a"), rows(tmp_path / "b")
    for key, row in posterior.items():
        q = runtime.Posterior(row["mean"][None], row["log_variance"][None])
        expected = q.draw(seed_of(5, f"x y/{key}"))
        np.testing.assert_allclose(drawn[f"x y/{key}"]["latents"], expected.latents[0], atol=1e-4)
        density = drawn[f"x y/{key}"]["log_density"]
        assert density == pytest.approx(expected.log_density[0], rel=1e-4)


def test_labels(tmp_path: Path, artifacts: Path, pictures: Path) -> None:
    """One class for all; a model without an encoder, or without classes, says so."""
    assert encode(artifacts / "tiny-vae", pictures, tmp_path / "a", "--labels", "zero") == 2
    assert encode(artifacts / "tiny-plain", pictures, tmp_path / "b") == 2
    assert encode(artifacts / "tiny-vae", pictures, tmp_path / "c") == 0
    (shard,) = (tmp_path / "c").glob("*.safetensors")
    assert shard.name == "000000-8x8.safetensors"
    assert not (tmp_path / "a").exists()


def test_strict_stops_at_a_damaged_picture(
    sized_artifact: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert encode(sized_artifact, pictures, tmp_path, "--size", "16", "--strict") == 2
    assert DAMAGED in capsys.readouterr().err
    assert not list(tmp_path.glob("*.safetensors"))


class Counting(Encoder):
    """An encoder that keeps the keys that it was given."""

    given: Counter[str]

    def submit(self, pictures: Sequence[Picture]) -> Future[Any]:
        self.given.update(each.row.key for each in pictures)
        return super().submit(pictures)


class StoppedError(Exception):
    pass


def bulk(model: runtime.Model, out: Path, **options: Any) -> Bulk:
    sizes = buckets(model.manifest, 24)
    specs = {size: picture_spec(model.manifest, "encode", size, size) for size in sizes}
    return Bulk(out, nearest_of(specs), group_size=options.pop("group_size", 25), **options)


def counting(model: runtime.Model) -> Counting:
    encoder = Counting(model)
    object.__setattr__(encoder, "given", Counter())
    return encoder


def stopping(after: int) -> Any:
    done = 0

    def progress(pictures: int) -> None:
        nonlocal done
        done += pictures
        if done >= after:
            raise StoppedError

    return progress


@pytest.mark.parametrize("after", [9, 20, 26, 49, 55])
def test_a_picture_whose_row_is_on_the_disk_is_not_encoded_again(
    sized: runtime.Model, pictures: Path, tmp_path: Path, after: int
) -> None:
    whole = counting(sized)
    bulk(sized, tmp_path / "whole").run(whole, find([pictures]).items)
    assert set(whole.given.values()) == {1}
    assert len(whole.given) == PICTURES - 1

    first, second = counting(sized), counting(sized)
    with pytest.raises(StoppedError):
        bulk(sized, tmp_path / "cut").run(first, find([pictures]).items, stopping(after))
    kept = {key for group in (tmp_path / "cut" / ".open").iterdir() for key in journalled(group)}
    kept |= rows(tmp_path / "cut").keys()
    assert kept
    progress: list[int] = []
    bulk(sized, tmp_path / "cut").run(second, find([pictures]).items, progress.append)
    assert not kept & second.given.keys()
    assert kept | second.given.keys() >= whole.given.keys()
    assert sum(progress) == PICTURES
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def journalled(group: Path) -> Iterator[str]:
    for line in (group / "journal.jsonl").read_text().splitlines():
        entry = json.loads(line)
        yield from (row[1] for row in entry.get("rows", ()))


def test_a_finished_job_is_not_done_again_and_takes_more(
    sized: runtime.Model, pictures: Path, tmp_path: Path
) -> None:
    some = tmp_path / "some"
    shutil.copytree(pictures / "cat's é", some)
    out, encoder = tmp_path / "out", counting(sized)
    ledger = bulk(sized, out).run(encoder, find([some]).items)
    before, first = contents(out), Counter(encoder.given)
    bulk(sized, out).run(encoder, find([some]).items)
    assert contents(out) == before
    assert encoder.given == first
    shutil.copy(next((pictures / "x y").glob("*.webp")), some / "zz.webp")
    again = bulk(sized, out).run(encoder, find([some]).items)
    assert (again.pictures, again.groups) == (ledger.pictures + 1, ledger.groups + 1)
    assert encoder.given == first + Counter(["zz"])
    (some / "0000.png").unlink()
    with pytest.raises(runtime.InputError, match="pictures"):
        bulk(sized, out).run(encoder, find([some]).items)


def test_pictures_that_went_are_missed(
    sized: runtime.Model, pictures: Path, tmp_path: Path
) -> None:
    some, out = tmp_path / "some", tmp_path / "out"
    shutil.copytree(pictures, some)
    with pytest.raises(StoppedError):
        bulk(sized, out).run(Encoder(sized), find([some]).items, stopping(40))
    shutil.rmtree(some / "x y")
    with pytest.raises(runtime.InputError, match="the pictures of earlier runs, 'x y/"):
        bulk(sized, out).run(Encoder(sized), find([some]).items)
    shutil.rmtree(some / 'dog "1"')
    with pytest.raises(runtime.InputError, match="pictures"):
        bulk(sized, out).run(Encoder(sized), find([some]).items)
    bulk(sized, out).run(Encoder(sized), find([pictures]).items)
    assert Ledger(out).pictures == PICTURES


def test_a_group_of_pictures_that_went_is_forgotten_where_it_has_no_rows(
    sized: runtime.Model, pictures: Path, tmp_path: Path
) -> None:
    """A run was killed when it had begun the group."""
    Spool(tmp_path / ".open" / "000009").close()
    bulk(sized, tmp_path).run(Encoder(sized), find([pictures]).items)
    assert not (tmp_path / ".open").exists()


def test_another_column_is_another_job(
    sized_artifact: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The pictures of both have the same keys."""
    read, both = pyarrow.parquet.read_table(table), tmp_path / "both.parquet"
    two = read.rename_columns(["key", "a"]).append_column("b", read["image"])
    pyarrow.parquet.write_table(two, both)
    out = tmp_path / "out"
    for column, status in (("a", 0), ("b", 2), ("a", 0)):
        assert encode(sized_artifact, both, out, "--continue", "--column", column) == status
        assert ("same request" in capsys.readouterr().err) == (status == 2)


def test_other_pictures_than_those_that_are_done_are_refused(
    sized_artifact: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many, with the same last ones: they would be taken for those that have rows."""
    source, out = tmp_path / "pictures", tmp_path / "out"
    shutil.copytree(pictures, source)
    options = ("--size", "16", "--group", 20, "--continue")
    assert encode(sized_artifact, source, out, *options) == 0
    before = contents(out)
    keys = [item.key for item in find([source]).items]
    other = next(path for path in source.rglob("*") if path.stem == Path(keys[5]).name)
    other.rename(other.with_stem(f"{other.stem}-new"))
    assert [item.key for item in find([source]).items][19::20] == keys[19::20]
    capsys.readouterr()
    assert encode(sized_artifact, source, out, *options) == 2
    assert f"in their order, as far as {keys[19]!r}, found others" in capsys.readouterr().err
    assert contents(out) == before
    # What an earlier version wrote has no marks: the last keys are compared.
    lines = [json.loads(line) for line in (out / "ledger.jsonl").read_text().splitlines()]
    for line in lines:
        del line["keys"]
    (out / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert encode(sized_artifact, source, out, *options) == 0
    other.with_stem(f"{other.stem}-new").unlink()
    assert encode(sized_artifact, source, out, *options) == 2
    assert f"the pictures of earlier runs, {keys[19]!r} next" in capsys.readouterr().err


def test_another_job_is_refused(
    sized_artifact: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert encode(sized_artifact, pictures, tmp_path, "--size", "16", "--continue") == 0
    before = contents(tmp_path)
    assert encode(sized_artifact, pictures, tmp_path, "--size", "16") == 2
    assert "--continue" in capsys.readouterr().err
    assert encode(sized_artifact, pictures, tmp_path, "--size", "24", "--continue") == 2
    assert "same request" in capsys.readouterr().err
    assert encode(sized_artifact, pictures, tmp_path, "--size", "16", "--continue") == 0
    assert contents(tmp_path) == before


def test_a_job_is_begun_anew_by_force_alone(
    sized_artifact: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, fresh, some = tmp_path / "out", tmp_path / "fresh", pictures / "cat's é"
    assert encode(sized_artifact, pictures, out, "--group", 20) == 0
    (out / "notes.txt").write_text("mine")
    before = contents(out)
    assert encode(sized_artifact, some, out) == 2
    assert "or --continue to go on with it" in capsys.readouterr().err
    assert contents(out) == before
    (out / "000009-16x24.npz.part").write_bytes(b"of a run that was killed")
    assert encode(sized_artifact, some, out, "--force") == 0
    assert encode(sized_artifact, some, fresh) == 0
    assert contents(out) == contents(fresh) | {"notes.txt": b"mine"}


def test_a_folder_is_one_commands_at_a_time(
    sized_artifact: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert encode(sized_artifact, pictures, out) == 0
    before = contents(out)
    with opened(out) as place:
        place.hold()
        for option in ("--continue", "--force"):
            assert encode(sized_artifact, pictures, out, option) == 2
            assert "in which no other command is at work" in capsys.readouterr().err
    assert contents(out) == before
    assert encode(sized_artifact, pictures, out, "--force") == 0
    assert contents(out) == before


def test_options_of_shards_need_them(sized_artifact: Path, pictures: Path, tmp_path: Path) -> None:
    given = ["encode", sized_artifact, pictures, "-o", tmp_path / "a.npz", "--buckets", "24"]
    assert main([str(each) for each in given]) == 2
    given = ["encode", sized_artifact, pictures, "-o", tmp_path / "a.npz", "--shards"]
    assert main([str(each) for each in given]) == 2


def test_a_spool_whose_rows_are_lost_is_begun_again(
    sized: runtime.Model, pictures: Path, tmp_path: Path
) -> None:
    """A power cut may keep a journal's line and lose the rows that it stands for."""
    bulk(sized, tmp_path / "whole").run(Encoder(sized), find([pictures]).items)
    with pytest.raises(StoppedError):
        bulk(sized, tmp_path / "cut").run(Encoder(sized), find([pictures]).items, stopping(20))
    means = sorted((tmp_path / "cut" / ".open").rglob("*.mean"))
    os.truncate(means[0], means[0].stat().st_size - 1)
    bulk(sized, tmp_path / "cut").run(Encoder(sized), find([pictures]).items)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_rows_without_a_line_are_cut_off(
    sized: runtime.Model, pictures: Path, tmp_path: Path
) -> None:
    """A kill between a chunk's rows and its line, or in the middle of either."""
    bulk(sized, tmp_path / "whole").run(Encoder(sized), find([pictures]).items)
    with pytest.raises(StoppedError):
        bulk(sized, tmp_path / "cut").run(Encoder(sized), find([pictures]).items, stopping(20))
    (group, *_) = sorted((tmp_path / "cut" / ".open").iterdir())
    kept = {*journalled(group)}
    for file in (*group.glob("*.mean"), group / "64x64.mean"):
        with file.open("ab") as end:
            end.write(b"half a row")
    with (group / "journal.jsonl").open("ab") as end:
        end.write(b'{"skipped": [], "buck')
    with pytest.raises(StoppedError):
        bulk(sized, tmp_path / "cut").run(Encoder(sized), find([pictures]).items, stopping(23))
    assert kept < {*journalled(group)}
    kept = {*journalled(group)}
    encoder = counting(sized)
    bulk(sized, tmp_path / "cut").run(encoder, find([pictures]).items)
    assert not kept & encoder.given.keys()
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_lines_that_were_cut_short_are_cut_off(
    sized: runtime.Model, pictures: Path, tmp_path: Path
) -> None:
    for name in ("whole", "cut"):
        bulk(sized, tmp_path / name, group_size=20).run(Encoder(sized), find([pictures]).items)
    ledger = tmp_path / "cut" / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-5])
    with (tmp_path / "cut" / "skipped.jsonl").open("a") as file:
        file.write('{"key": "half a li')
    bulk(sized, tmp_path / "cut", group_size=20).run(Encoder(sized), find([pictures]).items)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


@pytest.mark.parametrize("kind", ["safetensors", "parquet"])
def test_a_killed_process_goes_on(
    sized_artifact: Path, pictures: Path, tmp_path: Path, kind: str
) -> None:
    many, out = tmp_path / "many", tmp_path / "cut"
    for i in range(8):
        shutil.copytree(pictures, many / str(i))
    options = ("--buckets", "24", "--group", "40", "--batch", "4", "--continue")
    options += ("--format", kind)
    assert encode(sized_artifact, many, tmp_path / "whole", *options) == 0
    given = ["encode", sized_artifact, many, "--shards", *OPTIONS, *options, "-o", f"{out}/"]
    for lines in (1, 6):
        process = subprocess.Popen([sys.executable, "-m", "runtime", *map(str, given)])
        while process.poll() is None and done(out) < lines:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    assert (out / ".open").exists()
    assert encode(sized_artifact, many, out, *options) == 0
    assert contents(out) == contents(tmp_path / "whole")


def done(out: Path) -> int:
    ledger = out / "ledger.jsonl"
    return ledger.read_bytes().count(b"\n") if ledger.exists() else 0
