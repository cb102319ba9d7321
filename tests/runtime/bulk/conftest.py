import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

import runtime
from runtime.bulk.sources import find
from tests.sized import write_sized

PICTURES = 60
DAMAGED = "cat's é/0007"
"""The key of the one picture that is none."""


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("bulk") / "pictures", PICTURES)


def write_pictures(root: Path, count: int) -> Path:
    """A folder of seeded pictures of many shapes, in folders of odd names, with captions."""
    rng = np.random.default_rng(0)
    for i in range(count):
        folder = root / ("cat's é", 'dog "1"', "x y")[i % 3 if i != 7 else 0]
        folder.mkdir(parents=True, exist_ok=True)
        height, width = rng.integers(20, 80, 2)
        pixels = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
        file = folder / f"{i:04d}.{('png', 'jpg', 'webp')[i % 3]}"
        Image.fromarray(pixels).save(file)
        file.with_suffix(".txt").write_text("a caption")
    (root / f"{DAMAGED}.jpg").write_bytes(b"\xff\xd8\xff no picture")
    return root


@pytest.fixture(scope="session")
def tar(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pictures in the same order, as `tar -C pictures -cf pictures.tar .` writes them."""
    path = tmp_path_factory.mktemp("tar") / "pictures.tar"
    with tarfile.open(path, "w") as archive:
        for file in sorted(pictures.rglob("*")):
            archive.add(file, f"./{file.relative_to(pictures)}", recursive=False)
    return path


@pytest.fixture(scope="session")
def table(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pictures in the same order, with their keys, in a Parquet file of row groups."""
    path = tmp_path_factory.mktemp("table") / "pictures.parquet"
    items = [(item.key, item.read(1 << 20)) for item in find([pictures]).items]
    columns = {
        "key": [key for key, _ in items],
        "image": [{"bytes": data, "path": None} for _, data in items],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=23)
    return path


@pytest.fixture(scope="session")
def sized_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sized(tmp_path_factory.mktemp("sized"))


@pytest.fixture(scope="module")
def sized(sized_artifact: Path) -> Iterator[runtime.Model]:
    with runtime.load(sized_artifact, backend="onnxruntime", precision="fp32") as model:
        yield model
