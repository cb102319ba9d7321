"""The table of other people's networks: its rows, and how a record is shown."""

import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.networks.networks import PAGE, cells, page, run_python, stem
from benchmarks.networks.rows import found

TRIAL: dict[str, Any] = {
    "loads in": 12.4,
    "bytes": 1_500_000_000,
    "images/s": {"decode 64x64": 3.14159},
    "differences": {
        "decode 64x64": {"images": 1.0, "std of images": 60.0},
        "encode 64x64": {"mean": 2e-6, "log_variance": 4e-5, "std of mean": 1.0},
        "encode 32x32": {"mean": 3e-5, "log_variance": 1e-6, "std of mean": 1.0},
    },
}


def test_rows_have_names_and_files_of_their_own() -> None:
    rows = found()
    assert {"AutoencoderKL (SD 1.5)", "RRDB x4"} <= rows.keys()
    assert len({stem(name) for name in rows}) == len(rows)


def test_a_record_is_a_row() -> None:
    record = {"export": {"seconds": 61.2, "bytes": 2_000_000_000}, "trial": TRIAL}
    assert cells("one", record) == [
        "one", "61 s", "2.0 GB", "12 s", "1.5 GB", "decode 64x64 3.14",
        "images 1, mean 3e-05, log_variance 4e-05",
    ]  # fmt: skip


def test_what_failed_says_so() -> None:
    assert cells("one", {"error": "no such library"})[-1] == "failed: no such library"


def test_a_process_is_measured() -> None:
    made = run_python("-c", "x = b'x' * (300 << 20); print('done'); raise SystemExit(3)")
    assert made["status"] == 3
    assert made["output"] == "done\n"
    assert made["bytes"] > 300 << 20


def test_a_process_ends_with_who_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def interrupted(process: int, options: int) -> None:
        started.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "wait4", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_python("-c", "import time; time.sleep(60)")
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)


def test_the_page_is_that_of_the_records() -> None:
    assert Path(PAGE).read_text() == page()
