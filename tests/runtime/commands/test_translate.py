"""`python -m runtime translate`: pictures of several sizes, into files and folders."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import runtime
from runtime.__main__ import main
from tests.sized import write_sized

_SIZES = {"a.png": (6, 9), "b.webp": (8, 12), "sub/c.png": (6, 9), "b.png": (80, 40)}


def pixels(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    for name, size in _SIZES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(*size)).save(folder / name, lossless=True)
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return write_sized(tmp_path, masked=False)


def translate(artifact: Path, *arguments: object) -> int:
    return main(["translate", str(artifact), "--backend=onnxruntime", *map(str, arguments)])


def opened(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path))


def test_a_folder_of_several_sizes_keeps_names_and_sizes(
    artifact: Path, pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    assert translate(artifact, pictures, "-o", out) == 0
    made = {str(path.relative_to(out)) for path in out.rglob("[!.]*.*")}
    assert made == {"a.png", "b.png", "b_2.png", "sub/c.png"}
    assert opened(out / "a.png").shape == (12, 18, 3)
    assert np.array_equal(opened(out / "a.png"), opened(out / "sub" / "c.png"))
    assert opened(out / "b.png").shape == (160, 80, 3)  # in tiles
    assert "left out notes.txt" in caplog.text
    with runtime.load(artifact, backend="onnxruntime") as model:
        assert np.array_equal(opened(out / "b_2.png"), model.translate(pixels(8, 12)[None])[0])


def test_no_result_takes_the_name_of_another(artifact: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    for height, name in enumerate(("b.jpg", "b.png", "b_2.png"), start=4):
        Image.fromarray(pixels(height, 8)).save(folder / name)
    assert translate(artifact, folder, "-o", out) == 0
    heights = {path.name: opened(path).shape[0] for path in out.glob("[!.]*")}
    assert heights == {"b.png": 8, "b_2.png": 10, "b_2_2.png": 12}


def test_what_lies_beside_a_picture_takes_no_name_and_no_number(
    artifact: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    for height, name in enumerate(("1.png", "2.png", "frame.0003"), start=4):
        Image.fromarray(pixels(height, 8)).save(folder / name, "PNG")
        (folder / name).with_suffix(".json").write_text("{}")
    assert translate(artifact, folder, "-o", out) == 0
    heights = {path.name: opened(path).shape[0] for path in out.glob("[!.]*")}
    assert heights == {"1.png": 8, "2.png": 10, "frame.png": 12}


def test_what_a_power_cut_left_empty_is_made_again(artifact: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    Image.fromarray(pixels(4, 8)).save(folder / "1.png")
    assert translate(artifact, folder, "-o", out) == 0
    whole = (out / "1.png").read_bytes()
    (out / "1.png").write_bytes(b"")
    assert translate(artifact, folder, "-o", out, "--continue") == 0
    assert (out / "1.png").read_bytes() == whole


@pytest.mark.parametrize("shape", [(3,), (1, 0, 8, 3), (1, 5000, 4, 3)])
def test_a_mask_for_what_are_no_images(
    shape: tuple[int, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "images.npy", np.zeros(shape, np.uint8))
    Image.new("L", (8, 8)).save(tmp_path / "mask.png")
    given = tmp_path / "images.npy", "--mask", tmp_path / "mask.png", "-o", tmp_path / "out"
    assert translate(write_sized(tmp_path), *given) == 2
    error = capsys.readouterr().err
    assert "InputError: images: expected uint8 of shape ['n', 'height', 'width', 3]" in error
    assert error.count("\n") == 1


def test_what_is_there_is_left_alone(artifact: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert translate(artifact, pictures, "-o", out, "--format", "webp") == 0
    whole = opened(out / "sub" / "c.webp")
    (out / "sub" / "c.webp").unlink()
    (out / "a.webp").write_bytes(b"an earlier result")
    assert translate(artifact, pictures, "-o", out, "--format", "webp", "--continue") == 0
    assert np.array_equal(opened(out / "sub" / "c.webp"), whole)
    assert (out / "a.webp").read_bytes() == b"an earlier result"
    assert translate(artifact, pictures, "-o", out, "--format", "webp", "--force") == 0
    assert np.array_equal(opened(out / "a.webp"), whole)


def test_results_of_another_command_are_not_taken_for_finished(
    artifact: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert translate(artifact, pictures, "-o", out) == 0
    assert translate(artifact, pictures, "-o", out, "--size", "8x8", "--continue") == 2
    error = capsys.readouterr().err
    assert "expected a folder of the same request, size [8, 8]" in error
    assert opened(out / "a.png").shape == (12, 18, 3)
    # One that was to replace them, and was killed: the rest is still the first one's.
    first = (out / "sub" / "c.png").read_bytes()
    assert translate(artifact, pictures, "-o", out, "--size", "8x8", "--force") == 0
    (out / "sub" / "c.png").write_bytes(first)
    os.utime(out / "sub" / "c.png", (1.0, 1.0))
    assert translate(artifact, pictures, "-o", out, "--size", "8x8", "--continue") == 0
    assert opened(out / "sub" / "c.png").shape == (16, 16, 3)


def test_a_picture_is_never_replaced_by_its_result(
    artifact: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in pictures.rglob("*") if path.is_file()}
    for source in (pictures, pictures / "a.png"):
        for option in ("--force", "--continue"):
            assert translate(artifact, source, "-o", pictures, option) == 2
            error = capsys.readouterr().err
            assert "out: expected another folder than that of the pictures" in error
    after = {path: path.read_bytes() for path in pictures.rglob("*") if path.is_file()}
    assert after == before
    assert translate(artifact, pictures / "b.webp", "-o", pictures / "sub", "--force") == 0
    assert translate(artifact, pictures / "a.png", "-o", pictures, "--force", "--format=webp") == 0
    assert (pictures / "a.webp").is_file()


@pytest.mark.parametrize("option", ["--force", "--continue"])
def test_results_among_the_pictures_are_none(option: str, artifact: Path, pictures: Path) -> None:
    out = pictures / "out"
    for options in ((), (option,)):
        assert translate(artifact, pictures, "-o", out, *options) == 0
        made = {str(path.relative_to(out)) for path in out.rglob("[!.]*.*")}
        assert made == {"a.png", "b.png", "b_2.png", "sub/c.png"}


def test_results_without_a_record_are_left_alone(
    artifact: Path, pictures: Path, tmp_path: Path
) -> None:
    """Those of a release that wrote none."""
    out = tmp_path / "out"
    assert translate(artifact, pictures, "-o", out, "--continue") == 0
    (out / ".request.json").unlink()
    (out / "a.png").write_bytes(b"an earlier result")
    assert translate(artifact, pictures, "-o", out, "--continue") == 0
    assert (out / "a.png").read_bytes() == b"an earlier result"


def test_one_picture_into_a_file_keeps_its_size(
    artifact: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "larger.png"
    assert translate(artifact, pictures / "a.png", "-o", out) == 0
    assert opened(out).shape == (12, 18, 3)
    assert translate(artifact, pictures / "a.png", "-o", out, "--size", "8x8", "--force") == 0
    assert opened(out).shape == (16, 16, 3)
    assert translate(artifact, pictures / "a.png", "-o", out, "--continue") == 2
    assert "--continue: expected a folder" in capsys.readouterr().err


def test_errors_name_the_thing(
    artifact: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert translate(artifact, empty, "-o", tmp_path / "out") == 2
    assert "expected at least one picture" in capsys.readouterr().err
    assert translate(artifact, pictures / "notes.txt", "-o", tmp_path / "out") == 2
    assert "notes.txt" in capsys.readouterr().err


@pytest.mark.parametrize("out", ["out", "out.png"])
def test_a_mask_has_the_size_of_the_picture(
    out: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = write_sized(tmp_path)
    for name, size in (("mask.png", (6, 9)), ("other.png", (8, 9))):
        Image.fromarray(np.full(size, 255, np.uint8)).save(tmp_path / name)
    given = (pictures / "a.png", "-o", tmp_path / out)
    assert translate(artifact, *given, "--mask", tmp_path / "mask.png") == 0
    assert translate(artifact, *given, "--mask", tmp_path / "other.png", "--force") == 2
    said = capsys.readouterr().err
    assert "mask: expected height and width of a" in said
    assert "6 x 9, found 8 x 9" in said
    made = tmp_path / out if out.endswith("png") else tmp_path / out / "a.png"
    with runtime.load(artifact, backend="onnxruntime") as model:
        expected = model.translate(pixels(6, 9)[None], mask=np.full((1, 6, 9), 255, np.uint8))
    assert np.array_equal(opened(made), expected[0])
