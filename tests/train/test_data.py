"""Readers of data sets: IDX files, image folders and zips, downloads from a loopback mirror."""

import gzip
import hashlib
import http.server
import io
import json
import logging
import lzma
import os
import struct
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from runtime.images import MAX_PIXELS, ImageSpec, fit, open_image, reading
from tests import pictures
from train.data import SOURCES, Dataset, load, mnist
from train.data.binarised import binarise, binarised
from train.data.images import load_images
from train.data.shapes import FACTORS, draw, factor_table, load_shapes
from train.errors import DataError

SPEC = ImageSpec(height=8, width=8, channels=3)
GREY_8 = ImageSpec(height=8, width=8, channels=1)
GREY_28 = ImageSpec(height=28, width=28, channels=1)
REFERENCE_DRAW = "5af8b99f368ea4867f499684d65695572515d90fe39f6a5d75c39e1a9d56fdd5"


def png(mode: str = "RGB", size: tuple[int, int] = (10, 10), colour: object = None) -> bytes:
    file = io.BytesIO()
    image = Image.new(mode, size, colour)  # pyright: ignore[reportArgumentType]
    image.save(file, "PNG")
    return file.getvalue()


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_zip(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def read(path: Path, only: str | None = None) -> Dataset:
    return load_images(path, SPEC, name="test", licence="none", only=only)


CLASSES = {
    "toad/a.png": png(colour=(200, 0, 0)),
    "frog/a.png": png(colour=(0, 200, 0)),
    "frog/b.png": png(colour=(0, 100, 0)),
}


class TestImages:
    def test_sub_folders_are_the_classes_in_sorted_order(self, tmp_path: Path) -> None:
        data = read(write(tmp_path, CLASSES))
        assert data.classes == ("frog", "toad")
        assert data.labels.tolist() == [0, 0, 1]
        assert data.images.shape == (3, 8, 8, 3)
        assert data.images[:, 0, 0].tolist() == [[0, 200, 0], [0, 100, 0], [200, 0, 0]]

    def test_a_zip_reads_as_its_folder_does(self, tmp_path: Path) -> None:
        folder = read(write(tmp_path / "folder", CLASSES))
        archive = read(write_zip(tmp_path / "images.zip", CLASSES))
        assert archive.checksum == folder.checksum
        assert archive.classes == folder.classes

    def test_a_top_folder_around_everything_is_no_class(self, tmp_path: Path) -> None:
        wrapped = {f"release/train/{name}": content for name, content in CLASSES.items()}
        assert read(write_zip(tmp_path / "images.zip", wrapped)).classes == ("frog", "toad")

    def test_one_folder_of_images_is_one_class(self, tmp_path: Path) -> None:
        assert read(write(tmp_path, {"frog/a.png": png()})).classes == ("frog",)

    def test_loose_images_are_one_class(self, tmp_path: Path) -> None:
        assert read(write(tmp_path, {"a.png": png(), "b.png": png()})).classes == ("image",)

    def test_only_one_class(self, tmp_path: Path) -> None:
        data = read(write(tmp_path, CLASSES), only="frog")
        assert (data.classes, len(data.images)) == (("frog",), 2)

    def test_an_unknown_class_is_named_beside_those_found(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="expected a folder 'newt', found frog, toad"):
            read(write(tmp_path, CLASSES), only="newt")

    @pytest.mark.parametrize(
        ("mode", "size", "colour"),
        [
            ("L", (30, 10), 7),
            ("LA", (10, 30), (7, 255)),
            ("RGBA", (8, 8), (7, 7, 7, 255)),
            ("P", (5, 5), 0),
            ("1", (64, 64), 1),
            ("I;16", (9, 9), 700),
        ],
    )
    def test_every_mode_and_aspect_is_brought_to_size(
        self, tmp_path: Path, mode: str, size: tuple[int, int], colour: object
    ) -> None:
        data = read(write(tmp_path, {"a.png": png(mode, size, colour)}))
        assert data.images.shape == (1, 8, 8, 3)

    def test_unreadable_files_are_named_and_counted_and_left_out(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        broken = {
            "frog/cut.png": png(size=(50, 50))[:60],
            "frog/notes.txt": b"not an image",
            "frog/empty.jpg": b"",
        }
        with caplog.at_level(logging.WARNING):
            data = read(write(tmp_path, CLASSES | broken))
        assert len(data.images) == 3
        assert all(name in caplog.text for name in broken)
        assert "3 of 6 files are not readable images" in caplog.text

    @pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_a_damaged_zip_member_is_left_out(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, compression: int
    ) -> None:
        files = {"a.png": png(size=(50, 50)), "b.png": png()}
        path = write_zip(tmp_path / "images.zip", files, compression)
        content = bytearray(path.read_bytes())
        content[35:45] = bytes(10)  # just behind the first member's name
        path.write_bytes(content)
        assert len(read(path).images) == 1
        assert "left out a.png" in caplog.text

    def test_a_zip_without_its_directory_is_refused(self, tmp_path: Path) -> None:
        path = write_zip(tmp_path / "images.zip", CLASSES)
        content = bytearray(path.read_bytes())
        content[content.index(b"PK\x01\x02")] ^= 255
        path.write_bytes(content)
        with pytest.raises(DataError, match="expected a complete zip, found Bad magic number"):
            read(path)

    @pytest.mark.parametrize(
        ("files", "classes", "told"),
        [
            (("cat/1", "annotations/a.csv"), ["cat"], "annotations/a.csv"),
            (
                ("cat/1", "dog/2", "labels/1.txt", "README.txt"),
                ["cat", "dog"],
                "README.txt, labels",
            ),
            (("cat/1", "cat/1.txt", "dog/2"), ["cat", "dog"], "left out cat/1.txt"),
            (
                ("data/cat/1", "data/dog/2", "annotations/a.csv"),
                ["cat", "dog"],
                "annotations/a.csv",
            ),
            (("1", "2", "annotations/a.csv"), ["image"], "annotations/a.csv"),
            (("cat/1", "dog/broken.png"), ["cat"], "left out dog: no readable image"),
            (("cat/1", "empty/"), ["cat"], "left out empty folders: empty"),
            (("cat/1",), ["cat"], ""),
            (("cat/siamese/1", "dog/2"), ["cat", "dog"], ""),
            (("cat/1", "cat/siamese/2"), ["cat"], ""),
            (("a/b/c/cat/1", "a/b/c/dog/2"), ["cat", "dog"], ""),
            (("Cat/1", "cat/2"), ["Cat", "cat"], "Cat and cat are classes of their own"),
            (("cat/1", ".cache/2", "dog/.hidden/3", "dog/4"), ["cat", "dog"], ""),
        ],
    )
    @pytest.mark.parametrize("packed", [False, True])
    def test_classes_are_the_folders_with_images(
        self,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        files: tuple[str, ...],
        classes: list[str],
        told: str,
        packed: bool,
    ) -> None:
        # Names without a suffix are pictures by what is in them.
        content = {
            name: b"" if name.endswith("/") else b"text" if "." in Path(name).name else png()
            for name in files
        }
        if packed:
            path = write_zip(tmp_path / "images.zip", content)
        else:
            path = tmp_path
            for name in [name for name in files if name.endswith("/")]:
                (path / name).mkdir(parents=True)
                del content[name]
            write(path, content)
        with caplog.at_level(logging.WARNING):
            data = read(path)
        assert list(data.classes) == classes
        assert sorted(set(data.labels.tolist())) == list(range(len(classes)))
        assert told in caplog.text
        assert told or not caplog.text

    @pytest.mark.parametrize(
        ("names", "classes"),
        [
            (("cat\\1.png", "dog\\1.png"), ["cat", "dog"]),
            (("cat\\", "cat\\1.png", "dog\\1.png"), ["cat", "dog"]),
            (("C:\\data\\cat\\1.png", "C:\\data\\dog\\1.png"), ["cat", "dog"]),
            (("/cat/1.png", "dog/1.png"), ["cat", "dog"]),
            (("./cat/1.png", "dog/1.png"), ["cat", "dog"]),
            (("../cat/1.png", "../../dog/1.png"), ["cat", "dog"]),
            (("x/../cat/1.png", "dog//1.png"), ["cat", "dog"]),
            (("__MACOSX/cat/._1.png", "cat/1.PNG", "cat/.DS_Store", "dog/1.Jpg"), ["cat", "dog"]),
            (("cat/Thumbs.db", "cat/1.png", "dog/1.png"), ["cat", "dog"]),
        ],
    )
    def test_names_in_a_zip_are_of_any_system(
        self, tmp_path: Path, names: tuple[str, ...], classes: list[str]
    ) -> None:
        litter = ("._1.png", ".DS_Store", "Thumbs.db")
        files = {name: b"x" if name.endswith(litter) else png() for name in names}
        data = read(write_zip(tmp_path / "images.zip", files))
        assert list(data.classes) == classes
        assert data.labels.tolist() == [0, 1]

    def test_the_last_of_a_zips_files_of_one_name_is_read(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
            archive.writestr("a/1.png", png(colour=(1, 1, 1)))
            archive.writestr("a\\1.png", png(colour=(2, 2, 2)))
        data = read(tmp_path / "images.zip")
        assert data.images.max() == 2
        assert "left out a/1.png: an earlier file of the same name" in caplog.text

    def test_links_are_followed_and_come_to_an_end(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        elsewhere = write(tmp_path / "elsewhere", {"a.png": png(), "b.png": png()})
        root = write(tmp_path / "root", {"toad/a.png": png()})
        (root / "cat").symlink_to(elsewhere)
        (root / "toad" / "b.png").symlink_to(elsewhere / "b.png")
        (root / "toad" / "up").symlink_to(root)
        (elsewhere / "self").symlink_to(elsewhere)
        (root / "again").symlink_to(elsewhere)
        (root / "toad" / "gone.png").symlink_to(root / "nothing")
        (root / "loop.png").symlink_to(root / "loop.png")
        os.mkfifo(root / "toad" / "fifo.png")
        with caplog.at_level(logging.WARNING):
            data = read(root)
        assert data.classes == ("again", "toad")
        assert data.labels.tolist() == [0, 0, 1, 1]
        for told in (
            "cat: another link to a folder that was read",
            "toad/up: a link to a folder that it lies in",
            "again/self: a link to a folder that it lies in",
            "toad/gone.png: a link to nothing",
            "loop.png: ",
            "toad/fifo.png: no regular file",
            "6 of 10 files are not readable images",
        ):
            assert told in caplog.text

    def test_a_class_folder_may_be_a_link(self, tmp_path: Path) -> None:
        elsewhere = write(tmp_path / "elsewhere", {"1.png": png()})
        root = write(tmp_path / "root", {"dog/1.png": png()})
        (root / "cat").symlink_to(elsewhere, target_is_directory=True)
        data = read(root)
        assert (data.classes, data.labels.tolist()) == (("cat", "dog"), [0, 1])

    def test_names_need_not_be_utf_8(self, tmp_path: Path) -> None:
        folder = os.fsencode(tmp_path) + b"/caf\xe9"
        Path(os.fsdecode(folder)).mkdir()
        Path(os.fsdecode(folder + b"/\xff.png")).write_bytes(png())
        write(tmp_path, {"dog/1.png": png()})
        data = read(tmp_path)
        assert data.classes == ("caf\\xe9", "dog")
        json.dumps(data.classes).encode("utf-8")

    @pytest.mark.parametrize("kind", ["folder", "zip"])
    def test_a_file_of_more_bytes_than_its_pixels_need_is_left_out(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
    ) -> None:
        files = {"a.png": png(), "b.png": bytes(2 << 20)}
        path = write_zip(tmp_path / "i.zip", files, zipfile.ZIP_DEFLATED)
        if kind == "folder":
            path = write(tmp_path / "folder", files)
        data = load("images", path, SPEC, max_pixels=100).train
        assert len(data.images) == 1
        assert "left out b.png: image: expected at most 1049376 bytes" in caplog.text

    def test_what_desktop_systems_leave_behind_is_ignored(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        litter = {"__MACOSX/frog/._a.png": b"x", "frog/.DS_Store": b"x", "frog/Thumbs.db": b"x"}
        assert read(write_zip(tmp_path / "i.zip", CLASSES | litter)).classes == ("frog", "toad")
        assert not caplog.text

    def test_images_beside_class_folders_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"1 beside them, such as loose\.png: move these into"):
            read(write(tmp_path, CLASSES | {"loose.png": png()}))

    @pytest.mark.parametrize("wrapper", ["", "release/train/"])
    def test_other_files_beside_class_folders_are_left_out(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, wrapper: str
    ) -> None:
        files = {f"{wrapper}{name}": content for name, content in CLASSES.items()}
        notes = {f"{wrapper}README.txt": b"about", "LICENSE": b"free"}
        data = read(write_zip(tmp_path / "images.zip", files | notes))
        assert data.classes == ("frog", "toad")
        assert len(data.images) == 3
        assert all(name in caplog.text for name in notes)

    def test_a_class_may_be_called_train(self, tmp_path: Path) -> None:
        vehicles = {"train/a.png": png(), "bus/a.png": png(), "test/a.png": png()}
        data = load("images", write(tmp_path / "a", vehicles), SPEC).train
        assert data.classes == ("bus", "test", "train")
        splits = {"train/bus/a.png": png(), "test/bus/a.png": png(), "README.txt": b"about"}
        data = load("images", write(tmp_path / "b", splits), SPEC).train
        assert (data.classes, len(data.images)) == (("bus",), 1)
        noted = splits | {"annotations/train.csv": b"text", "masks.zip": b"no zip"}
        data = load("images", write(tmp_path / "c", noted), SPEC).train
        assert (data.classes, len(data.images)) == (("bus",), 1)

    def test_the_limit_of_pixels_is_that_of_every_way_in(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        files = {"a.png": png("1", (8200, 8200)), "b.png": png("1", (8190, 8190))}
        with caplog.at_level(logging.WARNING):
            assert len(read(write(tmp_path, files)).images) == 1
        assert f"left out a.png: image: expected at most {MAX_PIXELS} pixels" in caplog.text
        data = load("images", tmp_path, SPEC, max_pixels=8200 * 8200)
        assert len(data.train.images) == 2

    @pytest.mark.parametrize(
        ("mode", "options"), [("RGB", {"quality": 80}), ("L", {"progressive": True})]
    )
    def test_training_and_serving_see_the_same_pixels(
        self, tmp_path: Path, mode: str, options: dict[str, Any]
    ) -> None:
        # Large enough to be reduced while it is decoded, turned, and in other colours than sRGB.
        picture = Image.effect_noise((1500, 1100), 70).convert(mode)
        exif = picture.getexif()
        exif[0x0112] = 6
        profile = pictures.rgb_profile(pictures.ADOBE_RGB, 2.2)
        data = pictures.file_of(picture, "JPEG", exif=exif, icc_profile=profile, **options)
        trained = read(write(tmp_path, {"a.jpg": data})).images
        served, names = reading.load_images([tmp_path / "a.jpg"], lambda size: SPEC)
        assert names == ["a"]
        np.testing.assert_array_equal(trained, served)
        np.testing.assert_array_equal(trained[0], fit(open_image(data), SPEC))

    @pytest.mark.parametrize("error", [lzma.LZMAError, NotImplementedError])
    def test_a_member_that_cannot_be_unpacked_is_left_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
    ) -> None:
        def fails(*arguments: object) -> bytes:
            raise error("damaged")

        monkeypatch.setattr(zipfile.ZipFile, "read", fails)
        with pytest.raises(DataError, match="at least one readable image, found none"):
            read(write_zip(tmp_path / "images.zip", CLASSES))

    def test_a_zip_with_a_damaged_name_is_refused(self, tmp_path: Path) -> None:
        path = write_zip(tmp_path / "images.zip", {"é.png": png()})
        path.write_bytes(path.read_bytes().replace("é".encode(), b"\xff\xff"))
        with pytest.raises(DataError, match="expected a complete zip, found 'utf-8' codec"):
            read(path)

    def test_no_readable_image_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="at least one readable image, found none"):
            read(write(tmp_path, {"a.png": b"no"}))

    def test_a_missing_path_and_a_file_that_is_no_zip(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="expected a folder or a zip of images, found nothing"):
            read(tmp_path / "missing")
        with pytest.raises(DataError, match="found a file that is not a zip"):
            read(write(tmp_path, {"a.png": png()}) / "a.png")


class TestFrogs:
    """The recipe's `--data` may be the zip, its folder, or the folder that holds train.zip."""

    FILES: ClassVar = {
        f"train/{name.replace('toad', 'cat')}": content for name, content in CLASSES.items()
    }

    @pytest.fixture(params=["zip", "beside the zip", "folder", "above the folder"])
    def path(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        if "zip" in request.param:
            path = write_zip(tmp_path / "train.zip", self.FILES)
            return path if request.param == "zip" else tmp_path
        write(tmp_path, self.FILES | {"test/frog/c.png": png()})
        return tmp_path / "train" if request.param == "folder" else tmp_path

    def test_frogs_only(self, path: Path) -> None:
        data = load("cifar10-frogs", path, SPEC).train
        assert (data.classes, len(data.images)) == (("frog",), 2)

    def test_every_class_by_its_folder(self, path: Path) -> None:
        data = load("cifar10", path, SPEC).train
        names = sorted({Path(name).parts[1] for name in self.FILES})
        assert (data.name, data.classes) == ("cifar10", tuple(names))
        assert len(data.images) == len(self.FILES)

    def test_other_pictures_are_not_recorded_as_cifar10(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Their licence goes into the artifact."""
        write(tmp_path, CLASSES)
        data = load("cifar10", tmp_path, SPEC, labels=False, validation=1)
        assert data.test is not None
        assert (data.train.name, data.test.name) == ("images", "images-validation")
        assert data.train.licence == data.test.licence == "as given by the images' owner"
        assert "expected the class folders of CIFAR-10, found toad" in caplog.text
        assert load("cifar10-turned", tmp_path, SPEC).train.name == "images-turned"

    def test_no_path(self) -> None:
        with pytest.raises(DataError, match="--data: expected a folder or zip of images"):
            load("cifar10-frogs", None, SPEC)

    def test_frogs_cannot_be_downloaded(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="only MNIST can be fetched"):
            load("cifar10-frogs", tmp_path, SPEC, download=True)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Four small IDX files that take the place of MNIST's, with their own MD5 sums."""
    generator = np.random.default_rng(0)
    content = {}
    for prefix, count in (("train", 6), ("t10k", 3)):
        images = generator.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        labels = generator.integers(0, 10, count).astype(np.uint8)
        content[f"{prefix}-images-idx3-ubyte"] = idx(images)
        content[f"{prefix}-labels-idx1-ubyte"] = idx(labels)
    sums = {n: hashlib.md5(c, usedforsecurity=False).hexdigest() for n, c in content.items()}
    monkeypatch.setattr(mnist, "CONTENT_MD5", sums)
    return content


class TestMNIST:
    def test_plain_and_gzip_files_give_the_same_splits(
        self, tmp_path: Path, files: dict[str, bytes]
    ) -> None:
        plain = load("mnist", write(tmp_path / "plain", files), GREY_28)
        packed = {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
        zipped = load("mnist", write(tmp_path / "gz", packed), GREY_28)
        assert plain.test is not None
        assert zipped.test is not None
        assert plain.train.checksum == zipped.train.checksum
        assert plain.train.images.shape == (6, 28, 28, 1)
        assert plain.test.images.shape == (3, 28, 28, 1)
        assert plain.train.classes == tuple("0123456789")
        pixels = np.frombuffer(files["train-images-idx3-ubyte"], np.uint8)[16:]
        assert plain.train.images.tobytes() == pixels.tobytes()

    def test_stacked_digits_are_the_colours_of_one_picture(
        self, tmp_path: Path, files: dict[str, bytes]
    ) -> None:
        folder = write(tmp_path, files)
        spec = ImageSpec(height=28, width=28, channels=3)
        splits = load("stacked-mnist", folder, spec)
        digits = load("mnist", folder, GREY_28)
        assert splits.test is not None
        assert digits.test is not None
        for stacked, single in ((splits.train, digits.train), (splits.test, digits.test)):
            assert stacked.images.shape == (len(single.images), 28, 28, 3)
            assert len(stacked.classes) == 1000
            for picture, label in zip(stacked.images, stacked.labels, strict=True):
                for channel, digit in zip(
                    picture.transpose(2, 0, 1), stacked.classes[label], strict=True
                ):
                    same = (single.images[..., 0] == channel).all(axis=(1, 2))
                    assert int(digit) in single.labels[same]
        again = load("stacked-mnist", folder, spec)
        assert again.train.checksum == splits.train.checksum
        with pytest.raises(DataError, match=r"found \(28, 28, 3\)"):
            load("stacked-mnist", folder, GREY_28)

    def test_missing_files_are_named_with_mirrors_and_folder(
        self, tmp_path: Path, files: dict[str, bytes]
    ) -> None:
        files.pop("train-labels-idx1-ubyte")
        with pytest.raises(DataError) as caught:
            load("mnist", write(tmp_path, files), GREY_28)
        text = str(caught.value)
        assert "missing: train-labels-idx1-ubyte." in text
        assert "have the command that trains do that first, by its --download" in text
        assert str(tmp_path) in text
        assert "--download" in text
        assert all(mirror in text for mirror in mnist.MIRRORS)

    def test_other_content_is_refused(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        name = "t10k-images-idx3-ubyte"
        files[name] = files[name][:-1] + bytes([files[name][-1] ^ 1])
        with pytest.raises(DataError, match=f"{name}: expected content with MD5 .*, found"):
            load("mnist", write(tmp_path, files), GREY_28)

    @pytest.mark.parametrize("damage", [lambda c: c[: len(c) // 2], lambda c: b"no gzip at all"])
    def test_a_damaged_gzip_is_refused(self, tmp_path: Path, files, damage) -> None:
        packed = {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
        packed["train-images-idx3-ubyte.gz"] = damage(packed["train-images-idx3-ubyte.gz"])
        with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: expected a .*gzip"):
            load("mnist", write(tmp_path, packed), GREY_28)

    @pytest.mark.parametrize(
        ("content", "text"),
        [
            (b"", "expected an IDX file"),
            (b"\x00\x00\x0d\x01" + bytes(8), "expected an IDX file of unsigned bytes"),
            (b"\x00\x00\x08\x03\x00\x00", "expected a header of 16 bytes, found 6"),
            (b"\x00\x00\x08\x01\x00\x00\x00\x05abc", r"expected 5 values \(shape \[5\]\), found 3"),
            (b"\x00\x00\x08\x03" + b"\xff" * 12, "found 0"),
        ],
    )
    def test_malformed_idx_is_refused(self, content: bytes, text: str) -> None:
        with pytest.raises(DataError, match=text):
            mnist.parse_idx(content, "file")


class TestDownload:
    @pytest.fixture
    def mirror(self, files: dict[str, bytes]) -> Iterator[str]:
        served = {f"/good/{name}.gz": gzip.compress(content) for name, content in files.items()}
        served |= {f"/bad/{name}.gz": gzip.compress(b"something else") for name in files}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = served.get(self.path)
                if self.path.startswith("/cut/"):
                    self.wfile.write(b"no HTTP at all\r\n\r\n")
                    return
                self.send_response(200 if content else 404)
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *arguments: object) -> None:
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
            thread.start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()
            thread.join()

    def test_downloaded_files_load(
        self, tmp_path: Path, mirror: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mnist, "MIRRORS", (f"{mirror}/good/",))
        assert len(load("mnist", tmp_path / "new", GREY_28, download=True).train.images) == 6

    def test_the_next_mirror_is_tried(self, tmp_path: Path, mirror: str) -> None:
        mnist.download_mnist(tmp_path, [f"{mirror}/{m}/" for m in ("gone", "bad", "cut", "good")])
        assert len(mnist.load_mnist(tmp_path).train.images) == 6

    def test_a_bad_copy_is_never_written(self, tmp_path: Path, mirror: str) -> None:
        with pytest.raises(DataError, match=r"no mirror has a good copy.*404.*MD5"):
            mnist.download_mnist(tmp_path, [f"{mirror}/gone/", f"{mirror}/bad/"])
        assert list(tmp_path.iterdir()) == []

    def test_files_that_are_there_are_not_fetched(
        self, tmp_path: Path, files: dict[str, bytes]
    ) -> None:
        write(tmp_path, files)
        mnist.download_mnist(tmp_path, [])
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted(files)


def test_digits_need_no_path() -> None:
    splits = load("digits", None, ImageSpec(height=8, width=8, channels=1))
    assert splits.test is not None
    assert len(splits.train.images) + len(splits.test.images) == 1797
    assert splits.train.images.max() == 255


def test_a_binary_draw_is_the_same_everywhere() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    drawn = binarise(grey, seed=0)
    # Committed: other bits would be another test set, and other likelihoods.
    assert hashlib.sha256(drawn.tobytes()).hexdigest() == REFERENCE_DRAW
    assert (drawn != binarise(grey, seed=1)).any()


def test_a_binary_draw_has_the_grey_levels_as_means() -> None:
    for level in (0, 1, 128, 254, 255):
        drawn = binarise(np.full((10, 100, 100, 1), level, np.uint8), seed=2)
        assert set(np.unique(drawn)) <= {0, 255}
        # Four standard errors of 100,000 draws; none at 0 and 255.
        error = 4 * (level / 255 * (1 - level / 255) / 1e5) ** 0.5
        assert abs((drawn == 255).mean() - level / 255) <= error


def test_only_the_test_images_are_drawn_once_and_for_all(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    write(tmp_path, files)
    grey, binary = (load(name, tmp_path, GREY_28) for name in ("mnist", "mnist-binarised"))
    assert binary.train.checksum == grey.train.checksum
    assert grey.test is not None
    assert binary.test is not None
    assert binary.test.name == "mnist-test-binarised"
    assert (binary.test.images == binarised(grey.test).images).all()
    assert (binary.test.labels == grey.test.labels).all()


@pytest.mark.parametrize("name", ["mnist", "mnist-binarised", "stacked-mnist"])
def test_validation_images_are_training_images_that_are_held_out(
    tmp_path: Path, files: dict[str, bytes], name: str
) -> None:
    write(tmp_path, files)
    spec = ImageSpec(height=28, width=28, channels=3 if name.startswith("stacked") else 1)
    whole, splits = load(name, tmp_path, spec), load(name, tmp_path, spec, validation=2)
    assert whole.held_out == "test"
    assert splits.held_out == "validation"
    assert splits.test is not None
    assert "mnist-validation" in splits.test.name
    assert (len(splits.train.images), len(splits.test.images)) == (len(whole.train.images) - 2, 2)
    if name == "mnist":
        both = np.concatenate([splits.train.images, splits.test.images])
        assert sorted(image.tobytes() for image in both) == sorted(
            image.tobytes() for image in whole.train.images
        )
    if name == "mnist-binarised":
        assert set(np.unique(splits.test.images)) <= {0, 255}
    with pytest.raises(DataError, match="validation: expected fewer than the"):
        load(name, tmp_path, spec, validation=1000)


@pytest.mark.parametrize("name", ["digits", "shapes"])
def test_every_source_holds_out_validation_images(name: str) -> None:
    side = 8 if name == "digits" else 32
    splits = load(name, None, ImageSpec(height=side, width=side, channels=1), validation=7)
    assert splits.test is not None
    assert (splits.test.name, len(splits.test.images)) == (f"{name}-validation", 7)


def test_a_source_that_holds_nothing_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "deaf", lambda *_: load("digits", None, GREY_8))
    with pytest.raises(DataError, match="deaf: validation: expected 0, this source holds no"):
        load("deaf", None, GREY_8, validation=7)


def test_shapes_are_every_combination_of_the_factors_once() -> None:
    table = factor_table()
    assert len(np.unique(table, axis=0)) == len(table)
    assert table.max(axis=0).tolist() == [len(values) - 1 for values in FACTORS.values()]
    splits = load_shapes()
    assert splits.test is not None
    assert len(splits.train.images) + len(splits.test.images) == len(table)
    assert load("shapes", None, ImageSpec(height=32, width=32, channels=1)).train is splits.train
    with pytest.raises(DataError, match=r"shapes: expected images \(8, 8, 3\)"):
        load("shapes", None, SPEC)


def test_shapes_show_their_factors() -> None:
    table = factor_table()
    table = table[np.random.default_rng(0).permutation(len(table))[:500]]
    grey = draw(table)[..., 0] / 255
    x, y, size, angle, shade = (
        values[index] for values, index in zip(FACTORS.values(), table.T, strict=True)
    )
    mass = grey.sum((1, 2))
    down, right = np.mgrid[:32, :32] + 0.5
    assert grey.max((1, 2)) == pytest.approx(shade, abs=1 / 255)
    # Moments of anti-aliased pixels: a few hundredths of a pixel.
    centre = [(grey * axis).sum((1, 2)) / mass for axis in (right, down)]
    assert centre[0] == pytest.approx(x, abs=0.1)
    assert centre[1] == pytest.approx(y, abs=0.1)
    assert mass / shade == pytest.approx(4 * 0.4 * size**2, rel=0.06)
    across, along = right - x[:, None, None], down - y[:, None, None]
    mixed = (grey * across * along).sum((1, 2))
    squares = (grey * (across**2 - along**2)).sum((1, 2))
    turn = np.angle(np.exp(1j * (np.arctan2(2 * mixed, squares) - 2 * angle)))
    assert np.abs(turn).max() < 0.1


@pytest.mark.parametrize(
    ("images", "labels", "text"),
    [
        (np.zeros((2, 4, 4), np.uint8), np.zeros(2, np.int64), "images: expected uint8"),
        (np.zeros((0, 4, 4, 1), np.uint8), np.zeros(0, np.int64), "images: expected uint8"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.zeros(3, np.int64), "labels: expected int64"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.array([0, 2]), "labels: expected 0 to 1"),
    ],
)
def test_a_data_set_checks_itself(images: np.ndarray, labels: np.ndarray, text: str) -> None:
    with pytest.raises(DataError, match=text):
        Dataset("test", images, labels, ("a", "b"), "none")
