"""`python -m tests.runtime.bulk.kills`: kill every kind of bulk job at random moments, ten times
each, and hold what it has made in the end against an uninterrupted one, byte by byte."""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.runtime.bulk.conftest import write_pictures
from tests.runtime.bulk.test_jobs import OPTIONS, contents
from tests.sized import write_sized
from tests.tiny import write_artifact


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10, help="of each job (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    parser.add_argument("--only", help="jobs whose names have this in them: parquet")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="latentserve-kills-") as name:
        folder, rng = Path(name), random.Random(chosen.seed)
        for title, job in jobs(folder).items():
            if chosen.only is not None and chosen.only not in title:
                continue
            found = killed(job, folder / "jobs" / title.replace(" ", "-"), chosen.kills, rng)
            print(f"{title}: {json.dumps(found)}", flush=True)


def jobs(folder: Path) -> Mapping[str, Sequence[object]]:
    """The command of each job, but for where it writes to."""
    pictures = write_pictures(folder / "pictures", 1000)
    sampled = write_artifact(folder, "conditional").parent
    sized = write_sized(folder, masked=False)
    sample = ("sample", sampled, "-n", 20_000, "--seed", 7, "--group", 1000, "--batch", 16)
    encode = ("encode", sized, pictures, "--buckets", 24, "--group", 250, "--batch", 4)
    translate = ("translate", sized, pictures, "--tile", 32, "--group", 250)
    return {
        f"{job[0]} {kind}": (*job, "--shards", *OPTIONS, "--format", kind, "--continue")
        for job, kinds in (
            (sample, ("tar", "parquet")),
            (encode, ("safetensors", "parquet")),
            (translate, ("tar", "parquet")),
        )
        for kind in kinds
    }


def killed(
    job: Sequence[object], folder: Path, kills: int, rng: random.Random
) -> Mapping[str, object]:
    """Kill a job so often, at moments of its whole run, and let it end; what came of that.

    It begins anew where it ends before it is killed. AssertionError where the bytes differ.
    """
    began = time.monotonic()
    assert run(job, folder / "whole") == 0
    seconds = time.monotonic() - began
    expected, cut, done, ended = contents(folder / "whole"), folder / "cut", 0, 0
    unfinished: list[float] = []
    while done < kills:
        status = run(job, cut, rng.uniform(0.1, 0.9) * seconds)
        if status == -signal.SIGKILL:
            done += 1
            made = contents(cut)
            unfinished.append(sum(made.get(name) == data for name, data in expected.items()))
            continue
        assert status == 0, status
        check(contents(cut), expected)
        shutil.rmtree(cut)
        ended += 1
    assert run(job, cut) == 0
    check(contents(cut), expected)
    return {
        "kills": done,
        "begun anew": ended,
        "files": len(expected),
        "whole after each kill": unfinished,
        "uninterrupted, seconds": round(seconds, 1),
        "bytes": "equal",
    }


def check(found: Mapping[str, bytes], expected: Mapping[str, bytes]) -> None:
    names = found.keys() | expected.keys()
    differing = sorted(name for name in names if found.get(name) != expected.get(name))
    assert not differing, differing


def run(job: Sequence[object], out: Path, seconds: float | None = None) -> int:
    """Its exit status; it is killed after so many seconds."""
    command = [sys.executable, "-m", "runtime", *map(str, job), "-o", f"{out}/"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


if __name__ == "__main__":
    main()
