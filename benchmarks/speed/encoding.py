"""What a picture costs after the engine: microseconds and bytes an image, one image at a time.

PNG by `runtime.images.encoding` against Pillow's default and fastest level; the other formats for
information. Every format that keeps pixels is decoded again, by Pillow or NumPy, and compared.
"""

import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from PIL import Image

import runtime
from benchmarks.figures import Bar, Figure, least, most
from benchmarks.speed.publishing import parser, publish
from benchmarks.speed.servers import ROOT
from benchmarks.speed.subjects import Subject, add_options, opened
from benchmarks.speed.timing import interleaved, paired_ratio
from runtime.images import UInt8Array, to_picture
from runtime.images.encoding import encode_image, encode_npy

Encode = Callable[[UInt8Array], bytes]

OURS, DEFAULT, LEVEL_1 = "ours, png", "Pillow png, default", "Pillow png, level 1"
DCGAN, DIGITS, FROGS = "64x64 RGB (dcgan64)", "28x28 grey (mnist-vae)", "32x32 RGB (frogs)"

BARS: dict[str, Bar] = {f"{DCGAN}, {OURS}": least(10), f"{DIGITS}, {OURS}": least(4)}
"""Figure -> how many times as fast as Pillow's default it must be."""

SIZE_BAR = most(1.3)
"""Bytes of our PNGs, to those of Pillow's level 1."""


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks encoding`"""
    options = parser("encoding", __doc__)
    add_options(options)
    options.add_argument("--images", type=int, help="images of a kind (256; 32 with --quick)")
    options.add_argument("--rounds", type=int, help="rounds (default 9; 3 with --quick)")
    chosen = options.parse_args(arguments)
    images = chosen.images or (32 if chosen.quick else 256)
    rounds = chosen.rounds or (3 if chosen.quick else 9)
    shipped = {DIGITS: ROOT / "artifacts/mnist-vae", FROGS: ROOT / "artifacts/cifar10-frogs-dcgan"}
    figures: list[Figure] = []
    usual = chosen.artifact is None and chosen.networks is None
    # A quick run takes the shipped ones alone: the network is exported anew, which is not quick.
    with opened(chosen, () if chosen.quick else ("dcgan64",)) as subjects:
        kinds = {_kind(s): s.folder for s in subjects}
        for kind, folder in (kinds | shipped if usual else kinds).items():
            figures += measure(kind, samples(folder, images), rounds)
    publish(
        chosen,
        "encoding",
        "Microseconds to encode an image, and its bytes",
        figures,
        {"images": images, "rounds": rounds, "threads": 1},
    )


def _kind(subject: Subject) -> str:
    height, width, channels = subject.manifest.image().shape
    return f"{height}x{width} {'grey' if channels == 1 else 'RGB'} ({subject.name})"


def samples(folder: Path, count: int) -> UInt8Array:
    """What an artifact draws, for its pictures compress as real ones do."""
    with runtime.load(folder, backend="onnxruntime", precision="fp32") as model:
        return model.sample(count, seed=0)


def pillow(image: UInt8Array, **options: int) -> bytes:
    """A PNG by Pillow."""
    buffer = io.BytesIO()
    to_picture(image).save(buffer, "png", **options)
    return buffer.getvalue()


ENCODERS: dict[str, Encode] = {
    DEFAULT: pillow,
    LEVEL_1: partial(pillow, compress_level=1),
    OURS: partial(encode_image, picture_format="png"),
    "ours, webp": partial(encode_image, picture_format="webp"),
    "ours, jpeg": partial(encode_image, picture_format="jpeg"),
    "ours, npy": encode_npy,
}


def measure(kind: str, images: UInt8Array, rounds: int) -> list[Figure]:
    """Every encoder on the same images, in turns; ValueError where one loses a pixel."""
    sizes = {name: _checked(name, encode, images) for name, encode in ENCODERS.items()}
    timed = {name: partial(_seconds, encode, images) for name, encode in ENCODERS.items()}
    found = interleaved(timed, rounds)
    figures: list[Figure] = []
    for name, seconds in found.items():
        # Less time is better, so the ratio is turned round: how many times as fast.
        ratio = paired_ratio(found[DEFAULT], seconds)
        details = {"bytes": sizes[name], "bytes / level 1": sizes[name] / sizes[LEVEL_1]}
        micro = [second * 1e6 for second in seconds]
        figures.append(
            Figure(
                kind,
                name,
                median(micro),
                "us/image",
                ratio,
                "Pillow's default",
                BARS.get(f"{kind}, {name}"),
                rounds=micro,
                details=details,
            )
        )
    size = sizes[OURS] / sizes[LEVEL_1]
    against = "Pillow's level 1"
    figures.append(Figure(f"{kind}: bytes", OURS, sizes[OURS], "bytes", size, against, SIZE_BAR))
    return figures


def _seconds(encode: Encode, images: UInt8Array) -> float:
    began = perf_counter()
    for image in images:
        encode(image)
    return (perf_counter() - began) / len(images)


def _checked(name: str, encode: Encode, images: UInt8Array) -> float:
    """Mean bytes an image, once every image has come back as it went."""
    total = 0
    for number, image in enumerate(images):
        data = encode(image)
        total += len(data)
        if "npy" in name:
            decoded = np.load(io.BytesIO(data), allow_pickle=False)
        else:
            # WebP knows no grey: its three equal channels are one again.
            picture = Image.open(io.BytesIO(data)).convert(to_picture(image).mode)
            decoded = np.asarray(picture).reshape(image.shape)
        if "jpeg" not in name and not np.array_equal(decoded, image):
            raise ValueError(f"{name}: image {number} does not decode to the same pixels")
    return total / len(images)
