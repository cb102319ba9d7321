"""Images one after another, each with its key: what shards of images are made of."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """An image as PNG, and what is said of it: the same names for all images of a job."""

    key: str
    png: bytes
    about: Mapping[str, int | str]
