"""Encoding a data set into shards: pictures a second, how busy the engine is, and memory.

A tar of JPEGs of many shapes through `runtime.bulk`, in a process of its own, held against the same
encoder on ready-made pixels, before and after. The encoder is convolutional, as those of latent
diffusion are, and takes one GFLOP a picture: opening one costs a fifth of that or less. Resident
memory is taken after 1% of the pictures and at most afterwards.
"""

import argparse
import io
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
from PIL import Image

import runtime
from benchmarks.figures import Bar, Figure, least, most
from benchmarks.speed.ceiling import in_fresh_process
from benchmarks.speed.memory import Watch
from benchmarks.speed.publishing import parser, publish
from runtime.artifact.manifest import Axis
from runtime.bulk.buckets import buckets, nearest_of
from runtime.bulk.encoder import Encoder
from runtime.bulk.meter import EngineMeter
from runtime.bulk.pipeline import Bulk
from runtime.bulk.sources import find
from runtime.images import ImageSpec
from runtime.machine import cores
from runtime.requests.pictures import picture_spec

BUSY: Bar = least(95.0)
"""Percent of the time that all runners together spend in the engine."""
COST: Bar = most(1.3)
"""Core time a picture, to that of the encoder alone."""

SIDE = 128
_DISTINCT = 256


@dataclass(frozen=True)
class Found:
    """One job's figures. A speed is in pictures a second, and in seconds of a core a picture, which
    depend less on what else the machine does."""

    speed: tuple[float, float]
    alone: tuple[float, float]
    busy: float
    watch: Watch


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks bulk`"""
    options = parser("bulk", __doc__)
    options.add_argument("--pictures", type=int, help="how many (20000; 300 with --quick)")
    options.add_argument("--artifact", type=Path, metavar="PATH", help="another encoder (no bars)")
    chosen = options.parse_args(arguments)
    count = chosen.pictures or (300 if chosen.quick else 20_000)
    with tempfile.TemporaryDirectory(prefix="latentserve-benchmark-") as folder:
        tar = write_tar(Path(folder) / "pictures.tar", count)
        artifact = chosen.artifact or exported(Path(folder))
        found = in_fresh_process(measure, artifact, tar, count, Path(folder) / "latents")
    publish(
        chosen,
        "bulk",
        "Encoding a data set into shards",
        figures(found, count, chosen),
        {"cores": cores(), "runners": cores(), "pictures": count, "group": _group(count)},
    )


def figures(found: Found, count: int, options: argparse.Namespace) -> list[Figure]:
    held = options.artifact is None and not options.quick
    name = options.artifact.name if options.artifact is not None else f"1 GFLOP, {SIDE}x{SIDE}"
    subject = f"{name}, {count} pictures"
    return [
        Figure(subject, "the encoder alone", found.alone[0], "images/s"),
        Figure(subject, "ours", found.speed[0], "images/s"),
        Figure(f"{subject}: core time", "the encoder alone", 1e3 * found.alone[1], "ms/image"),
        Figure(
            f"{subject}: core time",
            "ours",
            1e3 * found.speed[1],
            "ms/image",
            found.speed[1] / found.alone[1],
            "the encoder alone",
            COST if held else None,
        ),
        Figure(
            f"{subject}: engine busy", "ours", 100 * found.busy, "%", bar=BUSY if held else None
        ),
        found.watch.figure(f"{subject}: memory"),
    ]


def measure(artifact: Path, tar: Path, count: int, out: Path) -> Found:
    """Encode the tar in this process."""
    meter, watch = EngineMeter(), Watch(count)

    with runtime.load(artifact, observer=meter) as model:
        alone = [_alone(model, min(count, 512))]
        manifest = model.manifest
        sizes = buckets(manifest, SIDE) if manifest.axes else (manifest.image().shape[:2],)
        specs = {size: picture_spec(manifest, "encode", size, size) for size in sizes}
        bulk = Bulk(out, nearest_of(specs), group_size=_group(count))
        meter.begin()
        began = perf_counter(), process_time()
        ledger = bulk.run(Encoder(model, "float16"), find([tar]).items, watch.passed)
        speed = _speed(began, count)
        busy = meter.busy(model.runners)
        alone.append(_alone(model, min(count, 512)))
    if ledger.rows != count:
        raise ValueError(f"expected {count} pictures encoded, found {ledger.rows}")
    before, after = alone
    both = (before[0] + after[0]) / 2, (before[1] + after[1]) / 2
    return Found(speed, both, busy, watch)


def _speed(began: tuple[float, float], count: int) -> tuple[float, float]:
    return count / (perf_counter() - began[0]), (process_time() - began[1]) / count


def _alone(model: runtime.Model, count: int) -> tuple[float, float]:
    """The speed on ready-made pixels, the second time."""
    shape = (count, *model.manifest.image().shape)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    model.encode(images)
    began = perf_counter(), process_time()
    model.encode(images)
    return _speed(began, count)


def _group(count: int) -> int:
    """Pictures of a group: as the command line has them, or several groups of a few pictures."""
    return min(4096, max(1, count // 4))


def write_tar(path: Path, count: int) -> Path:
    """Seeded JPEGs with sides from 160 to 480, as photographs compress; some come again."""
    rng = np.random.default_rng(0)
    files = [_jpeg(rng) for _ in range(min(count, _DISTINCT))]
    with tarfile.open(path, "w") as archive:
        for i in range(count):
            member = tarfile.TarInfo(f"{i:08d}.jpg")
            data = files[i % len(files)]
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def _jpeg(rng: np.random.Generator) -> bytes:
    height, width = (int(side) for side in rng.integers(160, 481, 2))
    coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    grain = rng.integers(-12, 13, smooth.shape, dtype=np.int16)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def exported(out: Path) -> Path:
    """The encoder as an artifact: [B, 3, H, W] -> mean and log variance, each [B, 4, H/8, W/8]."""
    import torch
    from torch import nn

    from export import export

    class Encode(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers: list[nn.Module] = [nn.Conv2d(3, 32, 3, padding=1)]
            for before, after in ((32, 64), (64, 128), (128, 128)):
                layers += [nn.SiLU(), nn.Conv2d(before, after, 3, 2, 1)]
                layers += [nn.SiLU(), nn.Conv2d(after, after, 3, padding=1)]
            self.layers = nn.Sequential(*layers, nn.SiLU(), nn.Conv2d(128, 8, 3, padding=1))

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            mean, log_variance = self.layers(images).chunk(2, dim=1)
            return mean, log_variance

    torch.manual_seed(0)
    axis = Axis(min=64, max=256, multiple_of=8, default=SIDE)
    return export(
        encode=Encode().eval(),
        latent=(4, "height / 8", "width / 8"),
        image=ImageSpec(height=SIDE, width=SIDE, channels=3),
        axes={"height": axis, "width": axis},
        prior="none",
        name="bulk-encoder",
        out=out,
        batches=(1, 4, 16),
    )
