"""How much of the machine a process may use."""

import os
from pathlib import Path

import pytest

from runtime import machine

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
