"""What a command prints about the artifact that it wrote."""

from pathlib import Path

from runtime.artifact.reading import read_artifact
from runtime.terminal import SERVE, conclude


def report(folder: Path, *more: str) -> None:
    """Print what was written, how exact it is, `more` lines, and how to serve it."""
    manifest = read_artifact(folder).manifest
    print(folder)
    for parity in manifest.parity:
        std = "" if parity.images_std is None else f", images' std {parity.images_std:.1f}"
        over = "" if parity.images is None else f" over {parity.images} latents"
        print(
            f"  {parity.graph} {parity.precision}: differs from {parity.reference}{over} by "
            f"at most {parity.max_difference:.3g}, mean {parity.mean_difference:.3g}, "
            f"at batches {', '.join(map(str, parity.batches))}{std}"
        )
    for precision, reason in manifest.left_out.items():
        print(f"  decode {precision}: left out: {reason}")
    for line in more:
        print(f"  {line}")
    made = f"{manifest.full_name}: written to {folder}"
    conclude(made, *SERVE, folder.parent.parent)
