"""Images of a command into files, with a progress bar."""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import fields
from typing import Any, TypeVar

from numpy.typing import NDArray
from tqdm import tqdm

from runtime.images import UInt8Array
from runtime.images.files import save_images
from runtime.images.layout import Layout

T = TypeVar("T", bound=Sized)


def save(
    args: argparse.Namespace,
    batches: Iterable[UInt8Array],
    n: int,
    names: Iterable[str] | None = None,
    arrays: Callable[[], dict[str, NDArray[Any]]] | None = None,
    done: int = 0,
) -> None:
    """Write n images to `args.out`, laid out as the arguments say; see
    `runtime.images.files.save_images`."""
    images = counted(batches, n, done)
    save_images(args.out, images, n, layout=layout_of(args), names=names, arrays=arrays, done=done)


def layout_of(args: argparse.Namespace) -> Layout:
    """The layout by a command's arguments, not all of which every command has."""
    given = {field.name: getattr(args, field.name, None) for field in fields(Layout)}
    return Layout(**{name: value for name, value in given.items() if value is not None})


def counted(batches: Iterable[T], n: int, done: int = 0) -> Iterator[T]:
    """The same batches, with a progress bar of n images."""
    with tqdm(total=n, initial=done, unit="img", disable=None) as bar:
        for batch in batches:
            yield batch
            bar.update(len(batch))
