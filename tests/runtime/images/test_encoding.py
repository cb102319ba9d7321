"""Bytes that leave the house decode to the pixels that went in."""

import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runtime import InputError
from runtime.images import contact_sheet
from runtime.images.encoding import (
    decode_npy,
    encode_image,
    encode_npy,
    encode_npz,
    encode_zip,
    npy_header,
)


@pytest.fixture(params=[1, 3], ids=["grey", "rgb"])
def images(request: pytest.FixtureRequest) -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (7, 12, 9, request.param), dtype=np.uint8)


def opened(data: bytes) -> np.ndarray:
    image = np.asarray(Image.open(io.BytesIO(data)))
    return image if image.ndim == 3 else image[..., None]


def test_png_keeps_every_pixel(images: np.ndarray) -> None:
    np.testing.assert_array_equal(opened(encode_image(images[0], "png")), images[0])


def test_webp_keeps_every_pixel(images: np.ndarray) -> None:
    found = opened(encode_image(images[0], "webp"))
    # WebP knows no grey: three equal channels come back.
    np.testing.assert_array_equal(found, np.broadcast_to(images[0], found.shape))


def test_jpeg_is_close_on_smooth_pictures() -> None:
    ramp = np.linspace(0, 255, 32 * 32).reshape(32, 32, 1).astype(np.uint8).repeat(3, axis=2)
    assert np.abs(opened(encode_image(ramp, "jpeg")).astype(int) - ramp).max() <= 4


@pytest.mark.parametrize("picture_format", ["png", "webp", "jpeg"])
def test_the_same_image_gives_the_same_bytes(images: np.ndarray, picture_format: Any) -> None:
    assert encode_image(images[0], picture_format) == encode_image(images[0], picture_format)


@pytest.mark.parametrize(
    ("columns", "shape"), [(None, (36, 27)), (7, (12, 63)), (2, (48, 18)), (99, (12, 63))]
)
def test_sheets_lay_images_row_by_row(images: np.ndarray, columns: Any, shape: Any) -> None:
    sheet = contact_sheet(images, columns)
    assert sheet.shape == (*shape, images.shape[-1])
    across = shape[1] // 9
    for i, image in enumerate(images):
        row, column = divmod(i, across)
        cell = sheet[row * 12 : row * 12 + 12, column * 9 : column * 9 + 9]
        np.testing.assert_array_equal(cell, image)
    assert sheet.sum(dtype=int) == images.sum(dtype=int)


def test_npy_round_trip(images: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_npy(encode_npy(images)), images)


def test_npz_and_zip(images: np.ndarray) -> None:
    with np.load(io.BytesIO(encode_npz({"images": images})), allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["images"], images)
    files = [("a.png", encode_image(images[0])), ("b.txt", b"two")]
    data = encode_zip(files)
    assert data == encode_zip(files)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert [(n, archive.read(n)) for n in archive.namelist()] == files


def claims(shape: str, descr: str = "'|u1'") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(8)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x09\x00" + bytes(100),
        b"PK\x03\x04" + bytes(100),
        encode_npy(np.zeros(100))[:-1],
        encode_npy(np.zeros(100)) + b"x",
        encode_npy(np.array(["text"])),
        npy_header((0, 10**30), np.dtype("u1")),
        npy_header((0, *[1] * 70), np.dtype("u1")),
        claims("(1000000000000,)"),
        claims("(-8,)"),
        claims("(8,)", "'|O'"),
        claims("(1,)", "[('a', '<f8')]"),
        claims("__import__('os')"),
    ],
)
def test_anything_else_as_npy_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="body: expected a NumPy .npy file of plain numbers"):
        decode_npy(data)


def test_pickles_are_never_decoded() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="found dtype object"):
        decode_npy(buffer.getvalue())


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 3), (28, 28, 1), (33, 17, 3), (300, 400, 3)])
def test_png_of_any_size_is_standard(shape: tuple[int, ...]) -> None:
    """Decoded by another library, with its checks of lengths and checksums on."""
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    data = encode_image(image)
    Image.open(io.BytesIO(data)).verify()
    np.testing.assert_array_equal(opened(data), image)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_is_compressed(channels: int) -> None:
    """Never stored: at most 1.3 times Pillow's level 1, on a picture of large smooth shapes."""
    across, down = np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64))
    shapes = np.stack([across**2 + down**2 < radius for radius in (0.2, 0.5, 0.9)], axis=-1)
    ramp = (across[..., None] + 1) * 60
    image = np.where(shapes, 250 - ramp, ramp).astype(np.uint8)[..., :channels]
    buffer = io.BytesIO()
    picture = Image.fromarray(image[..., 0] if channels == 1 else image)
    picture.save(buffer, "png", compress_level=1)
    assert len(encode_image(image)) <= 1.3 * len(buffer.getvalue())


def test_an_npy_head_and_rows_are_an_npy() -> None:
    whole = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)
    head = npy_header((4, 3, 2), whole.dtype)
    parts = head + whole[:1].tobytes() + whole[1:].tobytes()
    assert parts == encode_npy(whole)
    np.testing.assert_array_equal(np.load(io.BytesIO(parts)), whole)


def test_a_decoded_npy_is_a_view_in_its_own_order() -> None:
    for array in (np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.zeros((0, 4), ">f4")):
        found = decode_npy(encoded(array))
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype


def encoded(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_a_png_is_the_same_in_any_thread() -> None:
    """Some encoders hash an address of the stack: then a few of so many images differ."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (8000, 1, 1, 3), dtype=np.uint8)
    images = np.broadcast_to(colours, (8000, 16, 16, 3))
    with ThreadPoolExecutor(1) as thread:
        elsewhere = list(thread.map(encode_image, images))
    assert [encode_image(image) for image in images] == elsewhere
