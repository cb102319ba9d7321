"""The sheets of a run as one animation: what it drew while it trained."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_LAST = 12
"""The last sheet stays as long as so many others."""


def animate(sheets: Sequence[Path], path: Path, *, milliseconds: int) -> None:
    """Write sheets of one size as a WebP or GIF that starts again at its end."""
    pictures = [Image.open(sheet).convert("RGB") for sheet in sheets]
    times = [milliseconds] * (len(pictures) - 1) + [_LAST * milliseconds]
    settings: dict[str, Any] = {"quality": 60, "method": 4} if path.suffix == ".webp" else {}
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=times, loop=0, **settings
    )


def chosen_of(sheets: Sequence[Path], count: int) -> list[Path]:
    """`count` of them, from the first to the last: densely at first, where most happens."""
    places = np.linspace(0, 1, min(count, len(sheets))) ** 2
    rows = np.unique(np.rint(places * (len(sheets) - 1)).astype(int))
    return [sheets[row] for row in rows]


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks animation RUN --out FILE`"""
    parser = argparse.ArgumentParser(prog="python -m benchmarks animation", description=__doc__)
    parser.add_argument("run", type=Path, help="a folder that `python -m train` wrote")
    parser.add_argument("--out", type=Path, required=True, help=".webp or .gif")
    parser.add_argument("--frames", type=int, default=60, help="at most (%(default)s)")
    parser.add_argument("--milliseconds", type=int, default=100, help="a frame (%(default)s)")
    options = parser.parse_args(arguments)
    sheets = sorted((options.run / "samples").glob("*.png"))
    if options.out.suffix not in (".webp", ".gif"):
        parser.error(f"--out: expected a .webp or a .gif, found {options.out.name}")
    if not sheets:
        parser.error(f"{options.run}: expected a run's folder with sheets in samples/, found none")
    animate(chosen_of(sheets, options.frames), options.out, milliseconds=options.milliseconds)
    print(options.out)
