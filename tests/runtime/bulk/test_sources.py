"""The pictures of folders and tars: their order, their keys, what is passed over."""

import io
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from runtime.bulk.sources import Item, find
from runtime.errors import InputError, StorageError
from tests.runtime.bulk.conftest import PICTURES

MOST = 1 << 20


def png(shade: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_parquet(path: Path, columns: Mapping[str, Sequence[Any]], rows: int) -> Path:
    """A Parquet file with so many rows in a row group."""
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=rows)
    return path


def keys(*paths: Path) -> list[str]:
    return [item.key for item in find(paths).items]


def test_a_tar_and_its_folder_have_the_same_pictures(pictures: Path, tar: Path) -> None:
    folder, archive = find([pictures]), find([tar])
    assert folder.total == PICTURES
    assert archive.total is None
    found = [(item.number, item.key, item.read(MOST)) for item in folder.items]
    assert found == [(item.number, item.key, item.read(MOST)) for item in archive.items]
    assert [number for number, _, _ in found] == list(range(PICTURES))
    assert len({key for _, key, _ in found}) == PICTURES


def test_keys_are_those_of_webdataset(tmp_path: Path) -> None:
    names = ["train/0001.jpg", "train/0001.txt", "./train/0002.left.png", "train/0002.right.png"]
    names += ["0003.seg.PNG", "._0003.png", "0004.tar", "0005"]
    path = write_tar(tmp_path / "a.tar", [(name, png()) for name in names])
    assert keys(path) == ["train/0001", "train/0002", "train/0002.right.png", "0003"]


def test_a_key_is_given_once(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a.webp", "b.png"):
        (tmp_path / name).write_bytes(png())
    assert keys(tmp_path) == ["a", "a.png", "a.webp", "b"]
    path = write_tar(tmp_path / "a.tar", [("a.png", png(shade)) for shade in range(4)])
    assert keys(path) == ["a", "a.png", "a.png#2", "a.png#3"]
    read = [item.read(MOST) for item in find([path]).items]
    assert read == [png(shade) for shade in range(4)]


def test_several_sources_have_their_names_before_their_keys(tmp_path: Path) -> None:
    tars = [write_tar(tmp_path / f"{n}.tar", [("0.png", png())]) for n in ("train-0", "train-1")]
    assert keys(*tars) == ["train-0/0", "train-1/0"]
    (tmp_path / "train-0").mkdir()
    with pytest.raises(InputError, match="distinct names, found train-0 twice"):
        find([tars[0], tmp_path / "train-0"])


def test_names_that_are_no_unicode_become_some(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [("caf\udce9/1.png", png())])
    assert keys(path) == ["caf\\xe9/1"]


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"")
    for name, found in (("a.tar.gz", "a.tar.gz$"), ("b.tar", "b.tar, which is not there$")):
        with pytest.raises(InputError, match=found):
            find([tmp_path / name])
    (tmp_path / "c.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(InputError, match="complete tars that can be read"):
        keys(tmp_path / "c.tar")


def test_a_tar_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [(f"{i}.png", png() * 100) for i in range(3)])
    path.write_bytes(path.read_bytes()[:12_000])
    found: list[Item] = []
    with pytest.raises(InputError, match="complete tars"):
        found.extend(find([path]).items)
    assert found[0].read(MOST) == png() * 100
    with pytest.raises(InputError, match="at most 10 bytes"):
        found[0].read(10)
    with pytest.raises(InputError, match="then its end"):
        found[-1].read(MOST)


@pytest.mark.parametrize("rows", [7, 40, 1000])
def test_the_rows_of_parquet_files(tmp_path: Path, rows: int) -> None:
    data = [png(i) * (1 + i % 3) for i in range(100)]
    images = [{"bytes": each, "path": None} for each in data]
    path = write_parquet(tmp_path / "a.parquet", {"image": images, "other": data[::-1]}, rows)
    found = find([path])
    assert found.total == 100
    items = list(found.items)
    assert [item.key for item in items] == [f"{i:08d}" for i in range(100)]
    assert [item.read(MOST) for item in reversed(items)] == data[::-1]
    assert [item.read(MOST) for item in find([path], "other").items] == data[::-1]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda item: item.read(MOST), find([path]).items)) == data
    some = [item for i, item in enumerate(find([path]).items) if i % 37 == 5]
    assert [item.read(MOST) for item in some] == data[5::37]


def test_keys_and_columns_of_parquet_files(tmp_path: Path) -> None:
    data = [png(i) for i in range(4)]
    path = write_parquet(
        tmp_path / "a.parquet", {"key": ["x", "y", None, "x"], "jpg": data, "text": ["a"] * 4}, 2
    )
    assert keys(path) == ["x", "y", "00000002", "x#00000003"]
    assert [item.read(MOST) for item in find([path]).items] == data
    with pytest.raises(InputError, match="a.parquet: jpg, found text"):
        find([path], "text")
    two = write_parquet(tmp_path / "b.parquet", {"a": data, "b": data}, 2)
    with pytest.raises(InputError, match="--column: expected .*: a, b, found none"):
        find([two])
    (tmp_path / "c.parquet").write_bytes(b"PAR1 no such file PAR1")
    with pytest.raises(InputError, match="complete Parquet files"):
        find([tmp_path / "c.parquet"])


def test_all_rows_behind_damage_say_so(tmp_path: Path) -> None:
    data = [png(i) for i in range(100)]
    path = tmp_path / "a.parquet"
    plain = {"compression": "none", "use_dictionary": False, "data_page_size": 512}
    pyarrow.parquet.write_table(pyarrow.table({"image": data}), path, **plain, write_batch_size=8)
    whole = path.read_bytes()
    middle = whole.index(data[50])
    path.write_bytes(whole[:middle] + b"\xff" * 2000 + whole[middle + 2000 :])
    good, said = 0, set[str]()
    for item in list(find([path]).items):
        try:
            assert item.read(MOST) == data[item.number]
            good += 1
        except InputError as error:
            said.add(str(error))
    assert 0 < good < 50
    (reason,) = said
    assert reason.startswith("image: expected a Parquet file that can be read, found ")


def test_a_tar_that_is_gone_is_no_damaged_picture(
    pictures: Path, tar: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(tar, tmp_path))
    items = list(find([path]).items)
    path.unlink()
    with pytest.raises(StorageError, match="a tar that can be read"):
        items[0].read(MOST)


def test_rows_without_a_picture(tmp_path: Path) -> None:
    images = [{"bytes": png(), "path": None}, {"bytes": None, "path": "a.png"}, None]
    path = write_parquet(tmp_path / "a.parquet", {"image": images}, 3)
    first, *rest = find([path]).items
    assert first.read(MOST) == png()
    with pytest.raises(InputError, match="at most 10 bytes"):
        first.read(10)
    for item in rest:
        with pytest.raises(InputError, match="bytes in the row, found none"):
            item.read(MOST)
