"""What a source gives: pictures that are not read yet."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
"""Files with other names (captions, labels) are passed over."""

HOLDS_PICTURES = "a folder of pictures, a .tar or a .parquet"
"""What is expected of a source."""

Named = tuple[str, str, Callable[[int], bytes]]
"""A key, the full name, which is the key where another picture has that one, and `Item.read`."""


@dataclass(frozen=True, slots=True)
class Item:
    """A picture that is not read yet."""

    number: int
    key: str
    read: Callable[[int], bytes]
    """The bytes of a file of at most so many; InputError where it cannot be read, StorageError
    where what holds it cannot be. Any thread may call it, at any time."""


@dataclass(frozen=True)
class Source:
    """The pictures of one source, and how many there are, where that is known before they are
    read."""

    pictures: Iterator[Named]
    count: int | None


def text(name: str) -> str:
    """A name as Unicode that every format can hold; bytes that are none are written out."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
