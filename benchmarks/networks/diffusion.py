"""Images a second and memory of real autoencoders and an upscaler: ours against what people use.

Each variant runs one image at a time in a process of its own, on all cores; the variants take
turns, and the figures are medians over the rounds. Ratios are to the fastest of the others in fp32.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figures import Bar, Figure, least
from benchmarks.networks.networks import run_python
from benchmarks.networks.rivals import COMPILE, OURS, RIVALS, VARIANTS
from benchmarks.speed.publishing import parser, publish
from benchmarks.speed.timing import paired_ratio
from runtime.machine import cores

SUBJECTS = {
    "AutoencoderKL (SD 1.5)": ("256x256", "512x512"),
    "AutoencoderTiny": ("256x256", "512x512"),
    "RRDB x4": ("64x64", "128x128"),
}
BARS: dict[str, Bar] = {
    f"AutoencoderKL (SD 1.5) decode 256x256, {OURS}": least(1.4),
    f"AutoencoderKL (SD 1.5) decode 512x512, {OURS}": least(1.2),
    f"RRDB x4 translate 64x64, {OURS}": least(1.4),
}


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks diffusion`"""
    options = parser("diffusion", __doc__)
    options.add_argument("--rounds", type=int, help="rounds (default 3; 1 with --quick)")
    options.add_argument("--keep", type=Path, metavar="FOLDER", help="keep weights and artifacts")
    options.add_argument("--rows", nargs="*", default=list(SUBJECTS))
    options.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="with torch.compile, which takes minutes (default: not with --quick)",
    )
    chosen = options.parse_args(arguments)
    compiles = not chosen.quick if chosen.compile is None else chosen.compile
    variants = [name for name in VARIANTS if compiles or name != COMPILE]
    rounds = chosen.rounds or (1 if chosen.quick else 3)
    figures: list[Figure] = []
    for row in chosen.rows:
        sizes = SUBJECTS[row][: 1 if chosen.quick else 2]
        with nullcontext(chosen.keep) if chosen.keep else tempfile.TemporaryDirectory() as root:
            folder, artifact = _exported(row, Path(root))
            said = [
                {name: _tried(name, row, folder, artifact, sizes) for name in variants}
                for _ in range(rounds)
            ]
        figures += _figures(row, said)
    publish(
        chosen,
        "diffusion",
        "Images a second of real autoencoders",
        figures,
        {"cores": cores(), "rounds": rounds},
    )


def _exported(row: str, root: Path) -> tuple[Path, Path]:
    folder = root / f"diffusion-{''.join(c for c in row.lower() if c.isalnum())}"
    found = list(folder.glob("artifacts/*/1"))
    if not found:
        folder.mkdir(parents=True, exist_ok=True)
        said = _checked("-m", "benchmarks.networks.write", row, str(folder))
        arguments = json.loads(said.splitlines()[-1])["export"]
        _checked("-m", "export", *arguments, "--out", str(folder / "artifacts"))
        found = list(folder.glob("artifacts/*/1"))
    return folder, found[0]


def _tried(variant: str, row: str, folder: Path, artifact: Path, sizes: Sequence[str]) -> Any:
    module = "benchmarks.networks.rivals"
    out = _checked("-m", module, variant, row, str(folder), str(artifact), *sizes)
    return json.loads(out.splitlines()[-1])


def _checked(*arguments: str) -> str:
    ran = run_python(*arguments)
    if ran["status"]:
        raise RuntimeError(f"{' '.join(arguments[:3])}: {ran['said']}")
    return ran["output"]


def _figures(row: str, said: Sequence[dict[str, Any]]) -> list[Figure]:
    figures: list[Figure] = []
    for case in said[0][OURS]["speeds"]:
        found = {name: [each[name]["speeds"][case] for each in said] for name in said[0]}
        best = max((n for n in found if n in RIVALS), key=lambda name: median(found[name]))
        for variant, speeds in found.items():
            subject = f"{row} {case}"
            figures.append(
                Figure(
                    subject,
                    variant,
                    median(speeds),
                    "images/s",
                    ratio=None if variant == best else paired_ratio(speeds, found[best]),
                    against="" if variant == best else best,
                    bar=BARS.get(f"{subject}, {variant}"),
                    rounds=speeds,
                    details={"GB": median(each[variant]["bytes"] for each in said) / 1e9},
                )
            )
    return figures
