"""The engine's part of a bulk job: pictures of one size in, an encoder's outputs out."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from runtime.batching.jobs import Job
from runtime.bulk.buckets import tag
from runtime.bulk.formats import TENSOR_FORMATS, write_tensors
from runtime.bulk.network import Encoded, rows_of_run
from runtime.bulk.pictures import Picture, Row, Skipped
from runtime.bulk.spool import Spool
from runtime.errors import NotFiniteError
from runtime.images import ImageSpec
from runtime.model import Model
from runtime.requests.checks import Labels
from runtime.requests.encode import Encode
from runtime.sampling.streams import MAX_SEED

Dtype = Literal["float16", "float32"]
DTYPES: tuple[Dtype, ...] = ("float16", "float32")


@dataclass(frozen=True, eq=False)
class Encoder:
    """A model's encoder. `seed`: one latent drawn from each posterior instead of its mean and log
    variance, by noise that depends on (seed, key) alone. `labels`: of all pictures. `tile`: as in
    `Encode`; without it a picture is encoded whole, or refused: whether one fits depends on the
    memory of the moment, and what tiles give may differ."""

    model: Model
    dtype: Dtype = "float32"
    labels: Labels | None = None
    seed: int | None = None
    tile: int | None = None
    format: str = TENSOR_FORMATS[0]
    sorts = True

    def chunk_size(self, spec: ImageSpec) -> int:
        """How many pictures of a size are in one run. InputError where none can be encoded."""
        job = self._job(np.broadcast_to(np.uint8(0), (1, *spec.shape)), [""])
        return rows_of_run(self.model, job, spec)

    def submit(self, pictures: Sequence[Picture]) -> Future[Any]:
        """Queue a run of its own for pictures of one bucket."""
        images = np.stack([each.pixels for each in pictures])
        return self.model.submit(self._job(images, [each.row.key for each in pictures]))

    def encoded(self, pictures: Sequence[Picture], flight: Future[Any]) -> Encoded:
        """Wait for the run. Where the encoder gives no usable latent for a picture, that one is
        skipped, and so is one whose values the dtype cannot hold."""
        rows = [each.row for each in pictures]
        try:
            return self._encoded(rows, flight.result())
        except NotFiniteError as error:
            if len(pictures) == 1:
                return Encoded([], {}, [Skipped(rows[0].number, rows[0].key, str(error))])
        return _joined([self.encoded([each], self.submit([each])) for each in pictures])

    def write(self, out: Path, group: int, spool: Spool) -> Iterator[dict[str, Any]]:
        """A shard for each size."""
        manifest = self.model.manifest
        about = {"artifact": manifest.full_name}
        for bucket, shelf in sorted(spool.shelves.items()):
            name = f"{group:06d}-{tag(bucket)}.{self.format}"
            keys = [row.key for row in shelf.rows]
            write_tensors(out / name, list(spool.columns(bucket)), keys, about)
            height, width = bucket
            yield {"file": name, "rows": len(keys), "height": height, "width": width}

    def _job(self, images: NDArray[np.uint8], keys: Sequence[str]) -> Job[Any]:
        seeds = None if self.seed is None else [seed_of(self.seed, key) for key in keys]
        job = Encode(images, self.labels, seeds=seeds, tile=self.tile).job(self.model)
        return replace(job, alone=True, tile=self.tile)

    def _encoded(self, rows: list[Row], result: Any) -> Encoded:
        # Densities are sums over a whole latent: too large for a half.
        arrays: dict[str, NDArray[Any]] = {
            name: _cast(array, self.dtype if array.ndim > 1 else "float32")
            for name, array in result.arrays().items()
        }
        good = np.ones(len(rows), bool)
        for array in arrays.values():
            if array.dtype.kind == "f":
                good &= np.isfinite(array).reshape(len(rows), -1).all(axis=1)
        reason = f"values beyond {self.dtype}: choose another --dtype"
        skipped = [
            Skipped(row.number, row.key, reason)
            for row, is_good in zip(rows, good, strict=True)
            if not is_good
        ]
        if skipped:
            rows = [row for row, is_good in zip(rows, good, strict=True) if is_good]
            arrays = {name: array[good] for name, array in arrays.items()}
        return Encoded(rows, arrays if rows else {}, skipped)


def seed_of(seed: int, key: str) -> int:
    """The seed of one picture's draw: in [0, 2^53)."""
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    return int.from_bytes(digest[:8], "little") % MAX_SEED


def _cast(array: NDArray[Any], dtype: Dtype) -> NDArray[Any]:
    if array.dtype.kind != "f":
        return array
    with np.errstate(over="ignore"):  # those pictures are skipped
        return array.astype(dtype, copy=False)


def _joined(parts: Sequence[Encoded]) -> Encoded:
    whole: list[Mapping[str, NDArray[Any]]] = [part.arrays for part in parts if part.rows]
    names: list[str] = list(whole[0]) if whole else []
    return Encoded(
        [row for part in parts for row in part.rows],
        {name: np.concatenate([arrays[name] for arrays in whole]) for name in names},
        [each for part in parts for each in part.skipped],
    )
