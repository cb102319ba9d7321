"""How much a queue holds and may hold, in images and in bytes. Used under the queue's lock."""

from typing import Literal

from runtime.batching.entries import Entry
from runtime.errors import OverloadedError


class Room:
    """At most `max_images` and `max_bytes` (None: no limit)."""

    def __init__(self, max_images: int, max_bytes: int | None) -> None:
        self._max_images = max_images
        self._max_bytes = max_bytes
        self.images = 0
        """Images in the queue, a large job counted by its window."""
        self._bytes = 0

    def measure(self, entry: Entry) -> None:
        """Set what an entry counts for: at most four batches and never more than the queue holds,
        so that a huge job leaves room for others and fits into an empty queue."""
        entry.window = min(self._max_images, 4 * entry.needs.most)
        if self._max_bytes is None:
            return
        entry.row_bytes = min(entry.needs.waiting, self._max_bytes)
        if entry.row_bytes:
            entry.window = min(entry.window, self._max_bytes // entry.row_bytes)

    def add(self, entry: Entry, images: int) -> None:
        """So many more of an entry's images are in the queue; with a minus, so many fewer."""
        self.images += images
        self._bytes += images * entry.row_bytes

    def lacks(self, entry: Entry) -> Literal["images", "bytes"] | None:
        """What there is too little room of for an entry; None where it fits."""
        weight = entry.weight
        if self.images + weight > self._max_images:
            return "images"
        if self._max_bytes is None or self._bytes + weight * entry.row_bytes <= self._max_bytes:
            return None
        return "bytes"

    def overload(self, entry: Entry) -> OverloadedError:
        """The error of an entry that does not fit."""
        if self._max_bytes is not None and self.lacks(entry) == "bytes":
            return OverloadedError(self._bytes, self._max_bytes, "bytes")
        return OverloadedError(self.images, self._max_images)
