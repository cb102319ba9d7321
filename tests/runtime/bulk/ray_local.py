"""`python -m tests.runtime.bulk.ray_local ARTIFACT FOLDER`: our workers on Ray, and somebody's own
pipeline on it, whose images it writes into FOLDER. Prints one line of JSON: what came."""

import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime import InputError, bulk
from runtime.bulk.ray_data import Cluster, connected

ENGINE: dict[str, Any] = {"backend": "onnxruntime", "precision": "fp32"}


@dataclass(frozen=True)
class Doubled:
    """Work that is no work; it refuses the group `refused`."""

    refused: int = -1

    def __call__(self, group: Mapping[str, int]) -> Mapping[str, Any]:
        if group["number"] == self.refused:
            raise InputError("group", "another", f"{self.refused}")
        return {"doubled": 2 * group["number"]}


@dataclass(frozen=True)
class Dying:
    """Work whose process dies in the middle, once."""

    died: Path

    def __call__(self, group: Mapping[str, int]) -> Mapping[str, Any]:
        if group["number"] == 3 and not self.died.exists():
            self.died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"number": group["number"]}


def refuse() -> None:
    raise InputError("call", "another", "this")


def refused(cluster: Cluster) -> list[str]:
    """What workers refuse, as it arrives here."""
    share, said = cluster.share(2, "auto"), list[str]()
    for call in (
        lambda: cluster.call(share, refuse),
        lambda: list(cluster.made(share, Doubled(2), numbered(5))),
    ):
        try:
            call()
        except InputError as error:
            said.append(str(error))
    return said


def numbered(end: int, start: int = 0) -> list[dict[str, int]]:
    return [{"number": number} for number in range(start, end)]


def listening() -> list[str]:
    """The addresses at which anybody listens here: of a network namespace, all there is."""
    found: set[str] = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == "0A":
                found.add(local.partition(":")[0])
    return sorted(found)


def pipeline(artifact: str) -> dict[str, np.ndarray[Any, Any]]:
    """Images by somebody's own Ray Data."""
    import ray.data  # pyright: ignore[reportMissingImports]

    numbers = ray.data.range(50, override_num_blocks=5).rename_columns({"id": "index"})
    images = numbers.map_batches(
        bulk.Sample,
        fn_constructor_kwargs={"artifact": artifact, "seed": 7, **ENGINE},
        batch_format="numpy",
        batch_size=8,
        concurrency=2,
        num_cpus=0.5,
    )
    rows = sorted(images.take_all(), key=lambda row: row["index"])
    return {name: np.stack([row[name] for row in rows]) for name in ("index", "image", "label")}


def main(artifact: str, folder: Path) -> None:
    with connected("local") as cluster:
        share = cluster.share(None, "auto")
        told = {
            "workers": share.workers,
            "made": list(cluster.made(share, Doubled(), numbered(40, 7))),
            "refused": refused(cluster),
            "again": list(cluster.made(share, Dying(folder / "died"), numbered(6))),
            "listening": listening(),
        }
        for name, column in pipeline(artifact).items():
            np.save(folder / f"{name}.npy", column)
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
