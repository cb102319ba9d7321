"""How much of the machine a process may use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import machine

ROOT = Path(__file__).resolve().parents[2]
AFFINITY = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limited(monkeypatch: pytest.MonkeyPatch, folder: Path, **files: str) -> int:
    """The cores of a process whose control group holds these files."""
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    groups = ((folder / "max",), (folder / "quota", folder / "period"))
    monkeypatch.setattr(machine, "_PROCESSOR_GROUPS", groups)
    return machine.cores()


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("100000 100000\n", 1),
        ("150000 100000\n", 2),
        ("20000 100000\n", 1),
        ("6400000 100000\n", 64),
    ],
)
def test_no_more_cores_than_the_control_group_gives(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, share: int
) -> None:
    assert limited(monkeypatch, tmp_path, max=text) == min(AFFINITY, share)


def test_control_groups_of_version_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert limited(monkeypatch, tmp_path, quota="50000\n", period="100000\n") == 1
    assert limited(monkeypatch, tmp_path, quota="-1\n", period="100000\n") == AFFINITY


@pytest.mark.parametrize("text", ["max 100000\n", "", "nonsense", "0 0", "1 2 3"])
def test_without_a_limit_the_affinity_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    assert limited(monkeypatch, tmp_path, max=text) == AFFINITY


@pytest.mark.parametrize(
    ("count", "parts", "expected"),
    [
        (2, 2, [[0], [1]]),
        (5, 2, [[0, 1], [2, 3, 4]]),
        (8, 3, [[0, 1], [2, 3, 4], [5, 6, 7]]),
        (2, 3, [[0], [0], [1]]),
    ],
)
def test_parts_are_neighbours_and_none_is_empty(
    count: int, parts: int, expected: list[list[int]]
) -> None:
    assert [machine.part_of(range(count), index, parts) for index in range(parts)] == expected


def test_a_container_s_processor_time_is_divided(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = machine.free_memory()
    monkeypatch.setenv(machine._PARTS, "4")
    assert limited(monkeypatch, tmp_path, max="400000 100000\n") == 1
    assert limited(monkeypatch, tmp_path, max="600000 100000\n") == min(AFFINITY, 2)
    assert machine.free_memory() < whole / 2


def test_files_that_were_only_read_leave_memory_free(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = {"max": "2000000", "used": "1500000", "memory.stat": "anon 1\ninactive_file 700000\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text, "utf-8")
    monkeypatch.setattr(machine, "_CGROUPS", ((tmp_path, "max", "used", "inactive_file"),))
    assert machine.free_memory() == 1_200_000
    (tmp_path / "memory.stat").unlink()
    assert machine.free_memory() == 500_000


@pytest.mark.skipif(sys.platform != "linux", reason="cores are not bound here")
@pytest.mark.parametrize("index", range(min(2, AFFINITY)))
def test_a_process_takes_its_part_with_all_threads_and_children(index: int) -> None:
    code = (
        "import os, subprocess, sys, threading\n"
        "from runtime.machine import cores, take_part\n"
        "there = threading.Barrier(2)\n"
        "def show(): there.wait(); there.wait(); print(*os.sched_getaffinity(0))\n"
        "thread = threading.Thread(target=show)\n"
        "thread.start(); there.wait()\n"
        f"take_part({index}, {AFFINITY})\n"
        "there.wait(); thread.join()\n"
        "print(*os.sched_getaffinity(0), flush=True)\n"
        "child = 'import os; from runtime.machine import cores; '\n"
        "child += 'print(*os.sched_getaffinity(0), cores())'\n"
        "subprocess.run([sys.executable, '-c', child], check=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    thread, own, child = done.stdout.splitlines()
    assert thread == own
    assert int(own) in os.sched_getaffinity(0)
    assert child == f"{own} 1"
