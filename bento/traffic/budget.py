"""What requests hold together: bytes in memory, and places in a model's queue."""

import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

from bento.errors import try_again
from runtime.errors import InputError
from runtime.machine import trim_memory

KeyT = TypeVar("KeyT")

_FREE = 256 << 10
"""Bytes of each request that are not counted: whatever large requests hold, a small one is
answered. How many requests there are at once has a limit of its own."""

_MUCH = 64 << 20
"""After so many bytes were held, freed memory is given back to the system."""


class Tally(Generic[KeyT]):
    """A number for each key that has one; keys at 0 are forgotten, for clients choose them."""

    def __init__(self) -> None:
        self._numbers: dict[KeyT, int] = {}

    def __getitem__(self, key: KeyT) -> int:
        return self._numbers.get(key, 0)

    def add(self, key: KeyT, number: int) -> int:
        """The key's number, so many higher."""
        total = self._numbers.pop(key, 0) + number
        if total:
            self._numbers[key] = total
        return total

    def total(self) -> int:
        """All numbers together."""
        return sum(self._numbers.values())


class Budget:
    """So many bytes for a process; half of them for the requests of one address."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = self._peak = 0
        self._by_client = Tally[str]()

    def take(self, client: str, size: int, own: int = 0) -> None:
        """RequestError 429 where there is no room for so many more bytes. A request that holds
        `own` bytes, all that its address holds, may have more than half; none more than all."""
        if own + size > self.limit:
            raise InputError("request", f"at most {self.limit} bytes in memory", f"{own + size}")
        share = self._by_client[client] + size
        crowded = share > self.limit // 2 and share > own + size
        if size > 0 and (crowded or self.held + size > self.limit):
            raise try_again(
                "requests and replies hold too many bytes in memory, try again",
                f"at most {self.limit} bytes, and half of them for one address",
                f"{share} for this address" if share > self.limit // 2 else "more",
            )
        self.held += size
        self._by_client.add(client, size)
        self._peak = max(self._peak, self.held)
        if not self.held and self._peak >= _MUCH:
            self._peak = 0
            with suppress(RuntimeError):  # no thread to be had: it is freed another time
                threading.Thread(target=trim_memory, name="latentserve-trim").start()


class Shares:
    """Places in the models' queues, of which requests of one address may take half of each."""

    def __init__(self, queue_images: int) -> None:
        self.most = queue_images // 2
        self._taken = Tally[tuple[str, str]]()

    @contextmanager
    def taken(self, model: str, client: str, images: int) -> Generator[None]:
        """Inside, so many images wait or run. RequestError 429 where the address has too many
        already; one request alone is always admitted."""
        key = (model, client)
        own = self._taken[key]
        if own and own + images > self.most:
            raise try_again(
                "the queue is full for this address, try again",
                f"at most {self.most} images of one address waiting",
                f"{own + images}",
            )
        self._taken.add(key, images)
        try:
            yield
        finally:
            self._taken.add(key, -images)


class Holding:
    """What one request holds of a budget, until `release`."""

    def __init__(self, budget: Budget, client: str) -> None:
        self._budget, self._client = budget, client
        self._size: int = 0
        self._counted: int = 0

    def take(self, size: int) -> None:
        """Hold so many bytes more. RequestError 429 where there is no room for them."""
        counted = max(0, self._size + size - _FREE)
        if counted != self._counted:  # most requests stay below what is free
            self._budget.take(self._client, counted - self._counted, self._counted)
        self._size, self._counted = self._size + size, counted

    @contextmanager
    def meanwhile(self, size: int) -> Generator[None]:
        """Hold so many bytes more inside."""
        self.take(size)
        try:
            yield
        finally:
            self.take(-size)

    def release(self) -> None:
        """Nothing is held any more."""
        if self._counted:
            self._budget.take(self._client, -self._counted)
        self._size = self._counted = 0
