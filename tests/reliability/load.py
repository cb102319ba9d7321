"""Clients that ask for images of every kind, and know what they must get."""

import asyncio
import base64
import io
import json
import random
import time
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from PIL import Image

from runtime import Model
from runtime.images import UInt8Array, contact_sheet

FORMATS = ("png", "webp", "npy", "zip", "json")
"""The lossless ones."""
SIZES = (1, 1, 1, 2, 5, 17, 64)
SEEDS = 16

# DESIGN.md's tolerance for fp32 in another batch.
LEVELS = 1


class Expected:
    """Images of the first seeds of some models, made in process; asked for again over HTTP."""

    def __init__(self, models: Iterable[Model]) -> None:
        self._images: dict[tuple[str, int, int | None], UInt8Array] = {}
        self._labels: dict[str, tuple[int | None, ...]] = {}
        for model in models:
            manifest = model.manifest
            labels = (None,) if manifest.labels is None else (None, 0, len(manifest.labels) - 1)
            self._labels[manifest.name] = labels
            for seed in range(SEEDS):
                for label in labels:
                    made = model.sample(max(SIZES), seed=seed, labels=label)
                    self._images[manifest.name, seed, label] = made

    def request(self, rng: random.Random) -> tuple[dict[str, Any], UInt8Array]:
        """A request body, and the images of its reply."""
        name = rng.choice(sorted(self._labels))
        label, seed, n = rng.choice(self._labels[name]), rng.randrange(SEEDS), rng.choice(SIZES)
        offset = rng.choice([0, 0, rng.randrange(max(SIZES) - n + 1)])
        body: dict[str, Any] = {
            "model": name,
            "n": n,
            "seed": seed,
            "offset": offset,
            "format": rng.choice(FORMATS),
        }
        if label is not None:
            body["labels"] = label
        return body, self._images[name, seed, label][offset : offset + n]


def images_of(reply: httpx.Response, kind: str) -> list[UInt8Array]:
    """The images of a reply: one array [n, H, W, C], or a sheet as it is."""
    content = reply.content
    if kind == "npy":
        return list(np.load(io.BytesIO(content), allow_pickle=False))
    if kind == "zip":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = json.loads(archive.read("index.json"))["images"]
            return [_picture(archive.read(entry["file"])) for entry in entries]
    if kind == "json":
        return [_picture(base64.b64decode(i["png"])) for i in json.loads(content)["images"]]
    return [_picture(content)]


def _picture(data: bytes) -> UInt8Array:
    array = np.asarray(Image.open(io.BytesIO(data), formats=["PNG", "WEBP"]))
    return array[..., None] if array.ndim == 2 else array


def is_as_expected(reply: httpx.Response, kind: str, expected: UInt8Array) -> bool:
    """Whether every image of a reply is the one that was asked for, in its place."""
    found = images_of(reply, kind)
    if kind in ("png", "webp"):
        sheet = expected[0] if len(expected) == 1 else contact_sheet(expected, None)
        expected = sheet[None]
    if len(found) != len(expected):
        return False
    for image, right in zip(found, expected, strict=True):
        if image.shape[-1] == 3 and right.shape[-1] == 1:  # WebP knows no grey
            image = image[..., :1]
        if image.shape != right.shape or _difference(image, right) > LEVELS:
            return False
    return True


def _difference(a: UInt8Array, b: UInt8Array) -> int:
    return int(np.abs(a.astype(np.int16) - b).max())


@dataclass
class Tally:
    """What clients saw. `cut` replies began and broke off; `refused` ones never began."""

    outcomes: Counter[str] = field(default_factory=Counter)
    images: int = 0
    problems: list[str] = field(default_factory=list)


async def clients(url: str, expected: Expected, count: int, seconds: float, seed: int = 0) -> Tally:
    """So many clients, each asking one request after the other; every reply is compared."""
    tally, ends = Tally(), time.monotonic() + seconds
    # The service closes a connection that was idle for 5 s: the client gives it up before, or a
    # request could meet its end. A pool for each: one for all looks through all at each request.
    limits = httpx.Limits(max_connections=1, keepalive_expiry=2.0)

    async def one(number: int) -> None:
        rng = random.Random(f"{seed} {number}")
        async with httpx.AsyncClient(
            base_url=url,
            limits=limits,
            timeout=120,
            verify=False,  # noqa: S501 - no TLS here
        ) as client:
            while time.monotonic() < ends and not tally.outcomes["refused"]:
                await _ask(client, *expected.request(rng), tally)

    await asyncio.gather(*(one(i) for i in range(count)))
    return tally


async def _ask(
    client: httpx.AsyncClient, body: dict[str, Any], right: UInt8Array, tally: Tally
) -> None:
    answered = False
    try:
        async with client.stream("POST", "/sample", json=body) as reply:
            answered = True
            await reply.aread()
    except (httpx.HTTPError, OSError) as error:
        tally.outcomes["cut" if answered else "refused"] += 1
        tally.problems.append(f"{body}: {error!r}")
        return
    if reply.status_code != 200:
        tally.outcomes[str(reply.status_code)] += 1
        return
    # Comparing takes a while: in a thread, so that the other clients go on.
    same = await asyncio.to_thread(is_as_expected, reply, body["format"], right)
    tally.outcomes["right" if same else "wrong"] += 1
    tally.images += len(right)
    if not same:
        tally.problems.append(f"{body}: other images")
