"""Plans: engines that TensorRT built for one graph on one kind of GPU, kept in the cache.

A plan is a cache entry, never part of an artifact: it is valid for one ONNX file, TensorRT version,
GPU and batch size, and it is built on the machine that serves. It is native code too: whoever can
write the cache folder can run code here, so the folder is its owner's alone.

`<cache>/plans/<ONNX sha256>/tensorrt-11.4.0.106-sm90-fp16-b256.plan` and, beside each, the same
name with `.json`: its key, its sha256, how it was built, and how it was verified.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runtime.artifact.tensors import Precision
from runtime.engines.cache import read_record
from runtime.engines.nvidia.devices import dotted
from runtime.engines.nvidia.tensorrt import Flavor
from runtime.writing import write_whole

logger = logging.getLogger(__name__)


@dataclass(frozen=True, order=True)
class Bucket:
    """The batch sizes that one plan runs: one (the fastest), or a range tuned for one in it."""

    largest: int
    smallest: int
    best: int

    @classmethod
    def of(cls, batch: int) -> "Bucket":
        return cls(batch, batch, batch)

    @property
    def sizes(self) -> list[int]:
        """The batch sizes at which it is run, ascending."""
        return sorted({self.smallest, self.best, self.largest})

    @property
    def is_static(self) -> bool:
        return self.smallest == self.largest

    def __str__(self) -> str:
        if self.is_static:
            return str(self.largest)
        return f"{self.smallest}-{self.best}-{self.largest}"


@dataclass(frozen=True)
class PlanKey:
    """All that a plan is valid for."""

    onnx: str
    """SHA-256 of the graph's file in the artifact."""
    flavor: Flavor
    version: str
    """TensorRT's."""
    capability: str
    """The GPU's compute capability, `9.0`."""
    precision: Precision
    bucket: Bucket

    def fits(self, version: str, capability: tuple[int, int]) -> bool:
        """Whether such a TensorRT runs this plan on such a GPU."""
        return (self.version, self.capability) == (version, dotted(capability))

    @property
    def file(self) -> str:
        capability = self.capability.replace(".", "")
        return f"{self.flavor}-{self.version}-sm{capability}-{self.precision}-b{self.bucket}.plan"


@dataclass(frozen=True)
class Plan:
    """A plan found in the cache, its checksum verified."""

    key: PlanKey
    data: bytes
    built: Mapping[str, Any]
    verified: Mapping[str, Any] | None
    """How far its images are from the fp32 reference's; None where no GPU has run it yet."""


def store(
    cache: Path,
    key: PlanKey,
    data: bytes,
    *,
    built: Mapping[str, Any],
    verified: Mapping[str, Any] | None,
) -> Path:
    """Keep a plan, in place of an earlier one of the same key. Raises OSError."""
    path = _folder(cache, key.onnx) / key.file
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    record = {
        "key": asdict(key),
        "sha256": hashlib.sha256(data).hexdigest(),
        "built": dict(built),
        "verified": None if verified is None else dict(verified),
    }
    write_whole(path, data)
    write_whole(path.with_suffix(".json"), (json.dumps(record, indent=2) + "\n").encode())
    return path


def note_verified(cache: Path, plan: Plan, verified: Mapping[str, Any]) -> None:
    """Keep what a verification on this machine's GPU found, where the cache can be written."""
    with suppress(OSError):
        store(cache, plan.key, plan.data, built=plan.built, verified=verified)


def discard(cache: Path, key: PlanKey) -> None:
    """Forget a plan that turned out wrong."""
    path = _folder(cache, key.onnx) / key.file
    for file in (path, path.with_suffix(".json")):
        with suppress(OSError):
            file.unlink()


def find(
    cache: Path,
    onnx: str,
    flavor: Flavor,
    precision: Precision,
    version: str,
    capability: tuple[int, int],
) -> list[Plan]:
    """The plans of a graph that fit this TensorRT and GPU, the smallest bucket first, one a bucket.

    Damaged ones are left out, and the log names them.
    """
    keys = [k for k in _keys(cache, onnx, flavor, precision) if k.fits(version, capability)]
    found = [_read(cache, key) for key in sorted(keys, key=lambda key: key.bucket)]
    return [plan for plan in found if plan is not None]


def stale(
    cache: Path,
    onnx: str,
    flavor: Flavor,
    precision: Precision,
    version: str,
    capability: tuple[int, int],
) -> list[str]:
    """What there is of this graph for another version or GPU: `tensorrt 10.13.3.9 for 8.9`."""
    keys = _keys(cache, onnx, flavor, precision)
    others = {
        f"{key.flavor} {key.version} for compute capability {key.capability}"
        for key in keys
        if not key.fits(version, capability)
    }
    return sorted(others)


def names(cache: Path, onnx: str) -> list[str]:
    """The files of all plans of a graph."""
    return sorted(path.name for path in _folder(cache, onnx).glob("*.plan"))


def _keys(cache: Path, onnx: str, flavor: Flavor, precision: Precision) -> list[PlanKey]:
    keys: list[PlanKey] = []
    for path in sorted(_folder(cache, onnx).glob("*.json")):
        key = _key(path)
        if key is not None and (key.onnx, key.flavor, key.precision) == (onnx, flavor, precision):
            keys.append(key)
    return keys


def _key(path: Path) -> PlanKey | None:
    """The key that a record states, if it is the record of that key."""
    try:
        stated = dict(read_record(path)["key"])
        sizes = dict(stated.pop("bucket"))
        key = PlanKey(**stated, bucket=Bucket(**sizes))
    except (ValueError, KeyError, TypeError):
        return None
    plain = all(type(v) is str for v in stated.values()) and all(
        type(v) is int for v in sizes.values()
    )
    return key if plain and Path(key.file).with_suffix(".json").name == path.name else None


def _read(cache: Path, key: PlanKey) -> Plan | None:
    path = _folder(cache, key.onnx) / key.file
    try:
        record = read_record(path.with_suffix(".json"))
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if digest != record["sha256"]:
            logger.warning(
                "%s: expected SHA-256 %s, found %s: damaged, and left out: build it again",
                path, record["sha256"], digest,
            )  # fmt: skip
            return None
        verified = record["verified"]
        return Plan(key, data, dict(record["built"]), None if verified is None else dict(verified))
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s cannot be read (%s) and is left out: build it again", path, error)
        return None


def _folder(cache: Path, onnx: str) -> Path:
    return cache / "plans" / onnx
