"""Draw images of given latents (.npy, or .npz of encode)."""

import argparse
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from runtime.artifact.reading import read_npz
from runtime.commands._arguments import add_sheet, add_size, add_tile, load_model
from runtime.commands._output import conclude_output, first_command, save
from runtime.errors import ArtifactError, InputError
from runtime.images.encoding import decode_npy
from runtime.requests.decode import Decode

_ARRAYS = ("latents", "mean")
"""Of an `.npz`: what is decoded, the first of these that it has."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_sheet(parser)
    parser.add_argument("latents", type=Path, help="an .npy [n, *latent], or an .npz with latents")
    add_size(parser)
    add_tile(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the network's noise (default 0)")
    parser.add_argument("--truncation", type=float, help="for networks that take one")


def run(args: argparse.Namespace) -> None:
    latents, names = _read(args.latents)
    request = Decode(latents, args.labels, args.seed, args.truncation, args.size, args.tile)
    with load_model(args) as model:
        save(args, model.batches(request), len(latents), names)
        conclude_output(args, model, len(latents), *first_command(args.artifact, model.manifest))


def _read(path: Path) -> tuple[NDArray[Any], list[str] | None]:
    """Latents [n, *latent], and the names of the pictures that they are of, where they have any."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError("latents", "a readable file", f"{path} ({error.strerror})") from error
    if path.suffix.lower() != ".npz":
        return decode_npy(data, "latents"), None
    try:
        arrays = read_npz(data, path.name)
    except ArtifactError as error:
        raise InputError("latents", "an .npz of arrays", str(error)) from error
    found = next((arrays[name] for name in _ARRAYS if name in arrays), None)
    if found is None or found.ndim < 2:
        expected = f"an .npz with one of the arrays {' and '.join(_ARRAYS)}, [n, *latent]"
        raise InputError("latents", expected, f"{path} with {sorted(arrays)}")
    names = arrays.get("names")
    return found, None if names is None or len(names) != len(found) else names.astype(str).tolist()
