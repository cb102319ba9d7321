"""Every mode of pictures -> grey and RGB: depth, transparency and colours as the file says them."""

import io
import math
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from runtime import ImageSpec, InputError
from runtime.images import fit, open_image
from tests import pictures
from tests.pictures import file_of, numbers_tiff, tiff

WHITE_IS_ZERO = {"photometric": 0}
BIG = [0, 2**29, 2**30, 2**31 - 1]
QUARTERS = [0, 64, 128, 255]


def spec_of(image: Image.Image, channels: int) -> ImageSpec:
    size = {"height": image.height, "width": image.width}
    return ImageSpec.model_validate({**size, "channels": channels})


def grey(data: bytes) -> list[int]:
    """The grey pixels of a file at its own size, which must be those of its RGB pixels too."""
    image = open_image(data)
    pixels = fit(image, spec_of(image, 1))
    assert (fit(open_image(data), spec_of(image, 3)) == pixels).all()
    return pixels.ravel().tolist()


def grey_png(numbers: list[int], depth: int, key: int | None = None, colour: int = 0) -> bytes:
    bits = "".join(format(number, f"0{depth}b") for number in numbers)
    row = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    width = len(numbers) // (2 if colour == 4 else 1)
    return pictures.png(
        [row], width, depth, colour, {} if key is None else {b"tRNS": struct.pack(">H", key)}
    )


def pnm(head: str, data: bytes) -> bytes:
    return head.encode() + data


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(grey_png([0, 20000, 40000, 65535], 16), [0, 78, 156, 255], id="png 16"),
        pytest.param(
            grey_png([0, 20000, 40000, 65535], 16, key=1), [0, 78, 156, 255], id="png 16 key"
        ),
        pytest.param(
            grey_png([0, 20000, 40000, 65535], 16, key=40000), [0, 78, 0, 255], id="16 key met"
        ),
        pytest.param(grey_png([0, 0x55, 0xAA, 0xFF], 8, key=0xAA), [0, 85, 0, 255], id="8 key"),
        pytest.param(grey_png([0, 5, 10, 15], 4, key=10), [0, 85, 0, 255], id="png 4 key"),
        pytest.param(grey_png([0, 1, 2, 3], 2, key=2), [0, 85, 0, 255], id="png 2 key"),
        pytest.param(grey_png([0, 1, 2, 3], 2, key=170), [0, 85, 0, 255], id="png 2 wide key"),
        pytest.param(grey_png([0, 1, 1, 0], 1), [0, 255, 255, 0], id="png 1"),
        pytest.param(grey_png([0, 1, 1, 0], 1, key=1), [0, 0, 0, 0], id="png 1 key"),
        pytest.param(
            grey_png([65535, 65535, 40000, 32768], 16, colour=4), [255, 78], id="png 16 alpha"
        ),
        pytest.param(grey_png([200, 255, 200, 128], 8, colour=4), [200, 100], id="png 8 alpha"),
        pytest.param(numbers_tiff(BIG, "<i4"), QUARTERS, id="int32"),
        pytest.param(numbers_tiff(BIG, ">i4"), QUARTERS, id="int32 big"),
        pytest.param(numbers_tiff([-5, *BIG[1:]], "<i4"), QUARTERS, id="int32 negative"),
        pytest.param(numbers_tiff([2 * n for n in BIG[:3]] + [2**32 - 1], "<u4"), QUARTERS,
                     id="uint32"),
        pytest.param(numbers_tiff([-5, 8224, 16448, 32767], "<i2"), QUARTERS, id="int16"),
        pytest.param(numbers_tiff([-5, 8224, 16448, 32767], ">i2"), QUARTERS, id="int16 big"),
        pytest.param(numbers_tiff([-128, 0, 64, 127], "<i1"), [0, 0, 129, 255], id="int8"),
        pytest.param(numbers_tiff([0, 16448, 32896, 65535], "<u2"), QUARTERS, id="uint16"),
        pytest.param(numbers_tiff([0, 16448, 32896, 65535], ">u2"), QUARTERS, id="uint16 big"),
        pytest.param(
            numbers_tiff([65535, 49087, 32639, 0], "<u2", **WHITE_IS_ZERO), QUARTERS,
            id="uint16 white is zero",
        ),
        pytest.param(
            numbers_tiff([255, 191, 127, 0], "<u1", **WHITE_IS_ZERO), QUARTERS,
            id="uint8 white is zero",
        ),
        pytest.param(
            numbers_tiff([1, 0.75, 0.5, 0], "<f4", **WHITE_IS_ZERO), QUARTERS,
            id="float white is zero",
        ),
        pytest.param(
            # Two numbers of 12 bits in three bytes.
            tiff(bytes.fromhex("000401801fff"), 4, bits=12), [0, 64, 128, 255], id="12 bits"
        ),
        pytest.param(
            numbers_tiff([0, 1024, 2048, 4095], "<u2", tags={281: (3, [4095])}), QUARTERS,
            id="12 bits in 16, stated",
        ),
        pytest.param(
            numbers_tiff([0, 256, 512, 1023], "<u2", tags={341: (3, [1023])}), QUARTERS,
            id="10 bits in 16, stated",
        ),
        pytest.param(
            numbers_tiff([0, 16448, 32896, 40000], "<u2", tags={281: (3, [40000])}),
            [0, 64, 128, 156], id="a brightest number is no depth",
        ),
        pytest.param(numbers_tiff([0, 1024, 2048, 4095], "<u2"), [0, 4, 8, 16], id="16 bits, dark"),
        pytest.param(numbers_tiff([math.nan, 0.25, 0.5, 1], "<f4"), QUARTERS, id="float nan"),
        pytest.param(numbers_tiff([-math.inf, 0.25, 0.5, math.inf], "<f4"), QUARTERS, id="inf"),
        pytest.param(numbers_tiff([-3, 0.25, 0.5, 1], "<f4"), QUARTERS, id="float negative"),
        pytest.param(numbers_tiff([0, 0.125, 0.25, 0.5], "<f4"), [0, 32, 64, 128], id="dark"),
        pytest.param(numbers_tiff([0, 1, 2, 4], "<f4"), QUARTERS, id="float bright"),
        pytest.param(numbers_tiff([math.nan] * 4, "<f4"), [0] * 4, id="only nan"),
        pytest.param(numbers_tiff([3e38, 0, 0, 0], "<f4"), [255, 0, 0, 0], id="float huge"),
        pytest.param(
            numbers_tiff([0, 64, 128, 200], "<f4", tags={341: (11, [255.0])}), [0, 64, 128, 200],
            id="float, white stated",
        ),
        pytest.param(pnm("P5 4 1 255\n", bytes((0, 64, 128, 255))), QUARTERS, id="pgm"),
        pytest.param(pnm("P5 4 1 15\n", bytes((0, 4, 8, 15))), [0, 68, 136, 255], id="pgm 4"),
        pytest.param(
            pnm("P5 4 1 1023\n", struct.pack(">4H", 0, 256, 512, 1023)), QUARTERS, id="pgm 10"
        ),
        pytest.param(
            pnm("P5 4 1 65535\n", struct.pack(">4H", 0, 16448, 32896, 65535)), QUARTERS, id="pgm 16"
        ),
        pytest.param(pnm("P2 4 1 100\n", b"0 25 50 100"), QUARTERS, id="pgm text"),
        pytest.param(pnm("P1 4 1\n", b"1 0 0 1"), [0, 255, 255, 0], id="pbm text"),
        pytest.param(pnm("Pf 2 1 -1.0\n", struct.pack("<2f", 0.5, 1)), [128, 255], id="pfm"),
    ],
)  # fmt: skip
def test_the_depth_is_the_files(data: bytes, expected: list[int]) -> None:
    assert grey(data) == expected


@pytest.mark.parametrize("bits", [10, 14, 64])
def test_a_depth_that_cannot_be_read_is_refused(bits: int) -> None:
    with pytest.raises(InputError, match="image: expected a readable image"):
        grey(tiff(bytes(64), 4, bits=bits))


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("1", 255, 255),
        ("L", 90, 90),
        ("LA", (90, 255), 90),
        ("LA", (90, 128), 45),
        ("La", (45, 128), 45),
        ("P", 90, 90),
        ("PA", (90, 255), 90),
        ("RGB", (90, 90, 90), 90),
        ("RGBA", (90, 90, 90, 128), 45),
        ("RGBa", (45, 45, 45, 128), 45),
        ("RGBX", (90, 90, 90, 0), 90),
        ("CMYK", (0, 0, 0, 165), 90),
        ("YCbCr", (90, 128, 128), 90),
        ("HSV", (0, 0, 90), 90),
        ("LAB", (128, 128, 128), 119),  # lightness 50 of 100
        ("I;16", 23130, 90),
        ("I;16B", 23130, 90),
        ("I;16L", 23130, 90),
        ("I;16N", 23130, 90),
        ("I", 23130, 90),
        ("F", 90 / 255, 90),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_becomes_grey_and_rgb(
    mode: str, value: int | tuple[int, ...], expected: int, channels: int
) -> None:
    image = Image.new(mode, (4, 2), value)  # pyright: ignore[reportArgumentType]
    if mode in ("P", "PA"):
        image.putpalette([level for level in range(256) for _ in range(3)])
    pixels = fit(image, spec_of(image, channels))
    assert np.abs(pixels.astype(int) - expected).max() <= 1


def indexed(kind: str, transparency: int | bytes) -> bytes:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 255, 255, 90, 90, 90, 200, 200, 200])
    image.putdata([0, 1, 2])
    return file_of(image, kind, transparency=transparency)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(indexed("PNG", 0), [0, 90, 200], id="one of a palette"),
        pytest.param(indexed("GIF", 0), [0, 90, 200], id="gif"),
        pytest.param(indexed("PNG", bytes((255, 255, 128))), [255, 90, 100], id="several"),
        pytest.param(
            file_of(Image.new("RGB", (2, 1), (9, 9, 9)), transparency=(9, 9, 9)), [0, 0], id="rgb"
        ),
        pytest.param(
            pictures.png([struct.pack(">6H", *[1000] * 3, *[65535] * 3)], 2, 16, 2,
                         {b"tRNS": struct.pack(">3H", *[65535] * 3)}),
            [3, 0],
            id="rgb 16",
        ),
        pytest.param(
            tiff(bytes((45, 45, 45, 128)), 1, bits=[8] * 4, photometric=2, tags={338: (3, [1])}),
            [45],
            id="premultiplied",
        ),
        pytest.param(
            tiff(bytes((90, 90, 90, 128)), 1, bits=[8] * 4, photometric=2, tags={338: (3, [2])}),
            [45],
            id="alpha",
        ),
        pytest.param(
            tiff(bytes((90, 90, 90, 0)), 1, bits=[8] * 4, photometric=2, tags={338: (3, [0])}),
            [90],
            id="a fourth that is no alpha",
        ),
        pytest.param(
            tiff(bytes((45, 128)), 1, bits=[8] * 2, tags={338: (3, [1])}), [45], id="La"
        ),
    ],
)  # fmt: skip
def test_what_is_transparent_is_black(data: bytes, expected: list[int]) -> None:
    assert np.abs(np.array(grey(data)) - expected).max() <= 1


COLOURS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
PROFILES = {
    "Display P3": (pictures.P3, None),
    "Adobe RGB": (pictures.ADOBE_RGB, 2.19921875),
    "sRGB primaries, linear": (pictures.SRGB, 1.0),
}


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_colours_are_those_of_the_profile(name: str, kind: str) -> None:
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    # A JPEG keeps one colour nearly.
    pixels = np.full_like(COLOURS, (200, 120, 60)) if kind == "JPEG" else COLOURS
    profile = pictures.rgb_profile(*PROFILES[name])
    data = file_of(Image.fromarray(pixels), kind, icc_profile=profile, **options.get(kind, {}))
    image = open_image(data)
    stored = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    expected = pictures.in_srgb(stored, *PROFILES[name])
    found = fit(image, spec_of(image, 3)).astype(float)
    assert np.abs(found - expected).max() <= 2
    assert np.abs(expected - stored).max() > 10
    luma = expected @ (0.299, 0.587, 0.114)
    assert np.abs(fit(open_image(data), spec_of(image, 1))[..., 0] - luma).max() <= 2


def test_the_profile_comes_before_the_transparency() -> None:
    profile = pictures.rgb_profile(pictures.SRGB, 1.0)
    data = file_of(Image.new("RGBA", (1, 1), (55, 55, 55, 128)), icc_profile=profile)
    opaque = float(pictures.in_srgb(np.full(3, 55, np.uint8), pictures.SRGB, 1.0)[0])
    assert grey(data) == pytest.approx([opaque * 128 / 255], abs=1)


@pytest.mark.parametrize(
    ("image", "profile", "expected"),
    [
        (Image.new("L", (1, 1), 55), pictures.grey_profile(1.0), 127.5),
        (Image.new("LA", (1, 1), (55, 128)), pictures.grey_profile(1.0), 64),
        (Image.new("I;16", (1, 1), 55 * 257), pictures.grey_profile(1.0), 127.5),
        (Image.new("L", (1, 1), 55), pictures.rgb_profile(pictures.SRGB, 1.0), 127.5),
        (Image.new("P", (1, 1), 55), pictures.rgb_profile(pictures.SRGB, 1.0), 127.5),
        # Half of black ink is lightness 50; without the profile it would be 127.
        (Image.new("CMYK", (1, 1), (0, 0, 0, 128)), pictures.cmyk_profile(), 118.5),
    ],
)
def test_profiles_of_other_modes(image: Image.Image, profile: bytes, expected: float) -> None:
    if image.mode == "P":
        image.putpalette([level for level in range(256) for _ in range(3)])
    kind = "TIFF" if image.mode == "CMYK" else "PNG"
    (found,) = grey(file_of(image, kind, icc_profile=profile))
    assert found == pytest.approx(expected, abs=2)


def test_an_srgb_profile_changes_no_pixel() -> None:
    stock = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (stock, pictures.rgb_profile(pictures.SRGB, None)):
        data = file_of(Image.fromarray(COLOURS), icc_profile=profile)
        image = open_image(data)
        np.testing.assert_array_equal(fit(image, spec_of(image, 3)), COLOURS)


GOOD = pictures.rgb_profile(pictures.ADOBE_RGB, 2.2)


@pytest.mark.parametrize(
    ("mode", "profile"),
    [
        ("RGB", b"no profile at all"),
        ("RGB", GOOD[:100]),
        ("RGB", GOOD[:-40]),
        ("RGB", GOOD[:36] + b"xxxx" + GOOD[40:]),
        ("RGB", pictures.grey_profile(1.0)),
        ("RGB", pictures.cmyk_profile()),
        ("L", pictures.cmyk_profile()),
        ("RGB", bytes(5 << 20)),
    ],
    ids=("text", "start", "cut off", "other space", "grey", "CMYK", "CMYK of grey", "5 MiB"),
)
def test_a_profile_that_cannot_be_used_is_ignored(mode: str, profile: bytes) -> None:
    data = file_of(Image.new(mode, (4, 4), 90 if mode == "L" else (90, 90, 90)), "TIFF",
                   icc_profile=profile)  # fmt: skip
    assert grey(data) == [90] * 16


def test_damaged_profiles_stop_no_picture() -> None:
    generator = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(GOOD)
        for position in generator.integers(0, len(GOOD), 4):
            damaged[position] = generator.integers(256)
        data = file_of(Image.fromarray(COLOURS), icc_profile=bytes(damaged))
        image = open_image(data)
        assert fit(image, spec_of(image, 3)).shape == (16, 16, 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_lab_tiff(channels: int) -> None:
    image = Image.new("RGB", (4, 4), (119, 119, 119)).convert("LAB")
    data = file_of(image, "TIFF")
    assert open_image(data).mode == "LAB"
    pixels = fit(open_image(data), spec_of(image, channels))
    assert np.abs(pixels.astype(int) - 119).max() <= 1


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_the_first_frame_is_taken(kind: str) -> None:
    first, *others = (Image.new("RGB", (8, 8), (level,) * 3) for level in (200, 90, 20))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = file_of(first, kind, save_all=True, append_images=others, **options)
    assert np.abs(np.array(grey(data)) - 200).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_are_upright_at_any_size(kind: str, orientation: int) -> None:
    # A dark corner on a bright picture: upper left when it is upright.
    upright = np.full((300, 500), 220, np.uint8)
    upright[:150, :250] = 20
    turned = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.T, 6: np.rot90(upright), 7: np.rot90(upright, 2).T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    picture = Image.fromarray(np.ascontiguousarray(turned)).convert("RGB")
    exif = picture.getexif()
    exif[0x0112] = orientation
    data = file_of(picture, kind, exif=exif)
    spec = ImageSpec(height=6, width=10, channels=1)
    expected = np.full((6, 10), 220)
    expected[:3, :5] = 20
    assert np.abs(fit(open_image(data), spec)[..., 0] - expected).max() <= 6
