"""Draw images of given latents (.npy, or .npz of encode)."""

import argparse
import zlib
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from runtime.commands._arguments import add_prompt, add_sheet, add_size, add_tile, load_model
from runtime.commands._output import conclude_output, first_command, save
from runtime.errors import InputError
from runtime.images.encoding import NPY_ERRORS
from runtime.requests.decode import Decode

_ARRAYS = ("latents", "mean")
"""Of an `.npz`: what is decoded, the first of these that it has."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_sheet(parser)
    parser.add_argument("latents", type=Path, help="an .npy [n, *latent], or an .npz with latents")
    add_size(parser)
    add_prompt(parser)
    add_tile(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the network's noise (default 0)")
    parser.add_argument("--same-noise", action="store_true", help="each image with that of image 0")
    parser.add_argument("--truncation", type=float, help="for networks that take one")


def run(args: argparse.Namespace) -> None:
    latents, names = _read(args.latents)
    request = Decode(
        latents,
        args.labels,
        args.seed,
        args.truncation,
        args.size,
        args.tile,
        same_noise=args.same_noise,
        prompt=args.prompt,
    )
    with load_model(args) as model:
        save(args, model.batches(request), len(latents), names)
        conclude_output(args, model, len(latents), *first_command(args.artifact, model.manifest))


def _read(path: Path) -> tuple[NDArray[Any], list[str] | None]:
    """Latents [n, *latent], and the names of the pictures that they are of, where they have any."""
    try:
        loaded: Any = np.load(path, allow_pickle=False)
        is_npz = isinstance(loaded, NpzFile)
        arrays: dict[str, NDArray[Any]] = (
            dict(cast(Any, loaded)) if is_npz else {_ARRAYS[0]: loaded}
        )
    except MemoryError:
        raise
    except (OSError, BadZipFile, zlib.error, RuntimeError, *NPY_ERRORS) as error:
        reason = error.strerror if isinstance(error, OSError) else "something else"
        expected = "a readable .npy or .npz of numbers"
        raise InputError("latents", expected, f"{path} ({reason})") from error
    latents = next((arrays[name] for name in _ARRAYS if name in arrays), None)
    if latents is None or latents.ndim < 2:
        expected = f"{' or '.join(_ARRAYS)} of shape [n, *latent]"
        found = {name: list(array.shape) for name, array in arrays.items()}
        raise InputError("latents", expected, f"{found} in {path}")
    names = arrays.get("names")
    if names is not None and names.shape != (len(latents),):
        found = f"{list(names.shape)} in {path}"
        raise InputError("names", f"one for each of {len(latents)} latents", found)
    return latents, None if names is None else names.astype(str).tolist()
