"""Opening pictures: what is refused, within which limits, and that nothing else is ever raised."""

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, PpmImagePlugin

from runtime import ImageSpec, InputError
from runtime.images import FORMATS, MAX_PIXELS, fit, open_image, upright_size
from runtime.images.guards import (
    MAX_PIECES,
    MAX_PNM_TEXT,
    MAX_SCANS,
    MAX_TIFF_VALUES,
    is_picture,
)
from tests.pictures import file_of, png, tiff

RGB = ImageSpec(height=8, width=8, channels=3)
ROOT = Path(__file__).resolve().parents[3]


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    return Image.effect_noise((width, height), 50).convert(mode)


def read(data: bytes | Path) -> np.ndarray:
    return fit(open_image(data), RGB)


FILES = {
    "PNG": file_of(noise(64, 64, "RGBA")),
    "JPEG": file_of(noise(64, 64), "JPEG"),
    "progressive JPEG": file_of(noise(64, 64), "JPEG", progressive=True),
    "CMYK JPEG": file_of(noise(64, 64, "CMYK"), "JPEG"),
    "WEBP": file_of(noise(64, 64), "WEBP"),
    "lossless WEBP": file_of(noise(64, 64, "RGBA"), "WEBP", lossless=True),
    "GIF": file_of(noise(64, 64, "P"), "GIF"),
    "BMP": file_of(noise(64, 64), "BMP"),
    "TIFF": file_of(noise(64, 64), "TIFF"),
    "LZW TIFF": file_of(noise(64, 64), "TIFF", compression="tiff_lzw"),
    "JPEG TIFF": file_of(noise(64, 64), "TIFF", compression="jpeg"),
    "LAB TIFF": file_of(noise(64, 64).convert("LAB"), "TIFF"),
    "PPM": file_of(noise(64, 64), "PPM"),
    "PGM of 100 levels": b"P5 64 64 99\n" + bytes(64 * 64),
    "PPM of 16 bits": b"P6 64 64 65535\n" + bytes(64 * 64 * 6),
    "PPM in text": b"P3 64 64 255\n" + b"7 " * 64 * 64 * 3,
}


def test_every_format_is_tried() -> None:
    assert {open_image(data).format for data in FILES.values()} == set(FORMATS)
    for data in FILES.values():
        assert is_picture(data)
        assert read(data).shape == RGB.shape


@pytest.mark.filterwarnings("ignore")  # Pillow's, about the damage
@pytest.mark.parametrize("kind", FILES)
def test_damage_raises_nothing_but_our_error(kind: str) -> None:
    whole = FILES[kind]
    generator = np.random.default_rng(0)
    messages: list[str] = []
    for i in range(150):
        damaged = bytearray(whole)
        if i % 5 == 0:
            del damaged[generator.integers(len(damaged)) :]
        reach = len(damaged) if i % 2 else min(len(damaged), 200)
        for position in generator.integers(0, max(reach, 1), 3) if damaged else ():
            damaged[position] = generator.integers(256)
        try:
            assert read(bytes(damaged)).shape == RGB.shape
        except InputError as error:
            messages.append(str(error))
    assert messages
    assert max(map(len, messages)) < 300


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"hello" * 50, id="text"),
        pytest.param(FILES["PNG"][:20], id="header only"),
        pytest.param(FILES["PNG"][:900], id="truncated"),
        pytest.param(FILES["JPEG"][:900], id="truncated jpeg"),
        pytest.param(b"P5 8 8 99\n123", id="truncated pgm"),
        pytest.param(b"P5 0 8 255\n", id="no pixels"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n", id="eps"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", id="svg"),
    ],
)
def test_what_is_no_image_is_named(data: bytes) -> None:
    with pytest.raises(InputError, match=f"image: expected an? .*, found {len(data)} bytes"):
        read(data)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    os.mkfifo(tmp_path / "fifo.png")
    for name, expected in {
        "nothing.png": "an existing file",
        "link.png": "an existing file",
        "loop.png": "a readable file",
        "fifo.png": "a picture file",
        ".": "a picture file",
    }.items():
        with pytest.raises(InputError, match=f"image: expected {expected}, found "):
            open_image(tmp_path / name)


def test_one_limit_is_checked_before_a_pixel_is_decoded() -> None:
    assert MAX_PIXELS >= 50_000_000
    bomb = png([bytes(1250)] * 7000, 10_000, 1, 0, {})
    assert len(bomb) < 20_000
    expected = f"at most {MAX_PIXELS} pixels, found 10000 x 7000 = 70000000"
    with pytest.raises(InputError, match=expected):
        open_image(bomb)
    assert not fit(open_image(bomb, max_pixels=70_000_000), RGB).any()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(12_000, 10_000), (65_500, 65_500)])
def test_pictures_beyond_pillows_own_limit_are_refused(size: tuple[int, int]) -> None:
    huge = b"P5 %d %d 255\n" % size
    with pytest.raises(InputError, match="image: expected .* pixels"):
        open_image(huge)


def test_an_option_goes_beyond_pillows_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for kind in ("PNG", "TIFF", "JPEG"):
        assert read(file_of(Image.new("L", (100, 80), 90), kind)).max() == 90
    assert Image.MAX_IMAGE_PIXELS == 1000


MEMORY = """
import resource, sys
from pathlib import Path
from runtime.images import ImageSpec, fit, open_image
small = ImageSpec(height=28, width=28, channels=3)
fit(open_image(Path(sys.argv[1])), small)  # what the libraries take once
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
picture = open_image(Path(sys.argv[2]))
fit(picture, small)
used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
print(used / (picture.width * picture.height))
"""


@pytest.mark.parametrize(
    ("kind", "most", "options"),
    [
        ("JPEG", 1.5, {}),
        ("JPEG", 6, {"progressive": True}),
        ("PNG", 7, {"compress_level": 1}),
        ("TIFF", 11, {}),
        ("WEBP", 22, {"method": 0}),
    ],
)
def test_the_memory_of_a_large_picture_is_bounded(
    tmp_path: Path, kind: str, most: float, options: dict[str, int]
) -> None:
    # Bytes a pixel, with those of the file; half a byte for what the allocator keeps.
    picture = noise(400, 300, "RGB")
    picture.save(tmp_path / "small", kind, **options)
    picture.resize((6000, 4000)).save(tmp_path / "large", kind, **options)
    found = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "small"), str(tmp_path / "large")],
        capture_output=True, text=True, check=True, timeout=120, cwd=ROOT,
    )  # fmt: skip
    assert float(found.stdout) < most


def test_a_jpeg_is_reduced_while_it_is_decoded_and_may_be_fitted_again() -> None:
    picture = Image.effect_noise((90, 70), 60).resize((1801, 1403), Image.Resampling.BICUBIC)
    opened = open_image(file_of(picture, "JPEG", quality=95))
    assert upright_size(opened) == (1403, 1801)
    for size in ((12, 16), (64, 64), (700, 900), (2000, 2000)):
        spec = ImageSpec(height=size[0], width=size[1], channels=1)
        large = size[0] > 1403
        method = Image.Resampling.LANCZOS if large else Image.Resampling.BOX
        expected = np.asarray(ImageOps.fit(picture, (size[1], size[0]), method))
        difference = np.abs(fit(opened, spec)[..., 0].astype(int) - expected)
        # The JPEG's own loss and the rounding of the parts of pixels at the edges of boxes.
        assert difference.mean() < 2
        assert difference.max() < 16


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16", "P", "F"])
def test_a_large_picture_is_converted_in_strips(mode: str) -> None:
    # More pixels than one strip has, and a size that no block divides.
    ramp = np.linspace(0, 1, 1601 * 1203).reshape(1203, 1601)
    grey = Image.fromarray(np.round(ramp * 255).astype(np.uint8))
    if mode == "I;16":
        image = Image.fromarray(np.round(ramp * 65535).astype(np.uint16))
    elif mode == "F":
        image = Image.fromarray(ramp.astype(np.float32))
    else:
        image = grey.convert(mode)
    for size in ((9, 11), (1203, 1601), (500, 600)):
        spec = ImageSpec(height=size[0], width=size[1], channels=1)
        expected = np.asarray(ImageOps.fit(grey, (size[1], size[0]), Image.Resampling.BOX))
        assert np.abs(fit(image, spec)[..., 0].astype(int) - expected).max() <= 2


def test_a_jpeg_of_too_many_scans_is_refused() -> None:
    data = FILES["progressive JPEG"]
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2]
    allowed = data[:-2] + scan * (MAX_SCANS - data.count(b"\xff\xda")) + data[-2:]
    assert read(allowed).shape == RGB.shape
    with pytest.raises(InputError, match=f"a JPEG of at most {MAX_SCANS} scans, found more"):
        open_image(allowed[:-2] + scan + data[-2:])
    # Not a scan: the same bytes in a comment.
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 200) + b"\xff\xda" * 100
    assert read(data[:2] + comment + data[2:]).shape == RGB.shape


JPEG_START, PNG_START = 2, 33
GIF_START = 13 + (3 << ((FILES["GIF"][10] & 7) + 1))


@pytest.mark.parametrize(
    ("kind", "start", "piece", "pieces"),
    [
        ("JPEG", JPEG_START, b"\xff\xfe\x00\x02", "segments"),
        ("PNG", PNG_START, b"\0\0\0\0aaAa" + struct.pack(">I", zlib.crc32(b"aaAa")), "chunks"),
        ("GIF", GIF_START, b"!\xfe\0", "blocks before its pixels"),
    ],
)
def test_a_file_in_too_many_pieces_is_refused(
    kind: str, start: int, piece: bytes, pieces: str
) -> None:
    data = FILES[kind]
    assert read(data[:start] + piece * 1000 + data[start:]).shape == RGB.shape
    many = data[:start] + piece * (MAX_PIECES + 1) + data[start:]
    with pytest.raises(InputError, match=f"a {kind} of at most {MAX_PIECES} {pieces}, found more"):
        open_image(many)


def test_a_gifs_extension_of_too_many_blocks_is_refused() -> None:
    data = FILES["GIF"]
    comment = b"!\xfe" + b"\x01a" * (MAX_PIECES + 1) + b"\0"
    with pytest.raises(InputError, match=f"a GIF of at most {MAX_PIECES} blocks"):
        open_image(data[:GIF_START] + comment + data[GIF_START:])


def test_a_long_comment_in_a_pnm_file_is_refused() -> None:
    pixels = bytes(64 * 64)
    for size in (10, MAX_PIECES // 2):
        assert not read(b"P5\n#" + b"x" * size + b"\n64 64 # and\n255\n" + pixels).any()
    with pytest.raises(InputError, match=f"at most {MAX_PIECES} bytes before the pixels"):
        open_image(b"P5\n#" + b"x" * MAX_PIECES + b"\n64 64 255\n" + pixels)


def test_a_tiff_of_too_many_strips_is_refused() -> None:
    strips = {273: (4, [8] * (MAX_TIFF_VALUES + 1))}
    with pytest.raises(InputError, match=f"found {MAX_TIFF_VALUES + 1} in tag 273"):
        open_image(tiff(bytes(16), 4, 4, tags=strips))
    profile = {34675: (7, [0] * (MAX_TIFF_VALUES + 1))}
    assert open_image(tiff(bytes(16), 4, 4, tags=profile)).size == (4, 4)


def test_pnm_in_text_is_bounded_and_binary_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=f"at most {MAX_PNM_TEXT} bytes of a PNM file in text"):
        open_image(b"P2 2000 2000 255\n" + b"0 " * (MAX_PNM_TEXT // 2))
    rows = b"P6\n# made by hand\n1500 1000 99\n" + bytes(range(100)) * 45_000
    opened = open_image(rows)
    assert opened.tile[0].codec_name == "ppm"  # Pillow's decoder in Python, 3 s a megapixel
    monkeypatch.delattr(PpmImagePlugin.PpmDecoder, "decode")
    pixels = fit(opened, ImageSpec(height=1000, width=1500, channels=3))
    expected = np.round(np.arange(100) * (255 / 99))
    np.testing.assert_array_equal(pixels.ravel()[:100], expected)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_upright_size_is_told_before_decoding(kind: str, orientation: int) -> None:
    picture = Image.new("RGB", (30, 20))
    exif = picture.getexif()
    exif[0x0112] = orientation
    expected = (30, 20) if orientation in (6, 8) else (20, 30)
    opened = open_image(file_of(picture, kind, exif=exif))
    assert upright_size(opened) == expected
    opened.load()
    assert upright_size(opened) == expected


def test_the_largest_allowed_picture_needs_no_option() -> None:
    # What phones give: 8000 x 6000.
    data = file_of(Image.new("RGB", (8000, 6000), (200, 90, 20)), "JPEG")
    assert np.abs(read(data).astype(int) - (200, 90, 20)).max() <= 2
