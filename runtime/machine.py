"""What this machine is: the processor, how much of it this process may use, what is installed."""

import ctypes
import hashlib
import math
import os
import platform
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_PARTS = "_LATENTSERVE_PARTS"
"""Environment variable: so many processes like this one share what the machine gives, equally."""


@cache
def installed_version(*distributions: str) -> str | None:
    """The version of the first of these that is installed, without importing anything."""
    for distribution in distributions:
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(distribution)
    return None


def to_install(*extras: str) -> str:
    """How to install one of these extras of ours, as the end of an error message. No package index
    has latentserve."""
    choices = " or ".join(f"'.[{extra}]'" for extra in extras)
    return f"run pip install {choices} in a checkout of latentserve"


def cores() -> int:
    """Cores that this process may use: those of its affinity, and no more than the processor time
    that its control group gives it (a container's limit), or its part of that, rounded up."""
    if hasattr(os, "sched_getaffinity"):
        affinity = float(len(os.sched_getaffinity(0)))
    else:
        affinity = (os.cpu_count() or 1) / _parts()
    return max(1, math.ceil(min(affinity, _processor_share() / _parts())))


def take_part(index: int, parts: int) -> None:
    """Leave this process, and those that it will start, one of so many equal parts of the cores,
    `index` in [0, parts), and of the free memory.

    Cores are bound where the system can do that (Linux), those of one processor side by side.
    Elsewhere the process only counts on fewer of them.
    """
    os.environ[_PARTS] = str(parts)
    if sys.platform != "linux":
        return
    mine = part_of(sorted(os.sched_getaffinity(0), key=_place), index, parts)
    for thread in Path("/proc/self/task").iterdir():  # libraries have started some
        with suppress(OSError):  # it has ended
            os.sched_setaffinity(int(thread.name), mine)


def part_of(places: Sequence[T], index: int, parts: int) -> list[T]:
    """One of so many parts, of neighbours: at least one place, and all about as long."""
    first = index * len(places) // parts
    return list(places[first : max(first + 1, (index + 1) * len(places) // parts)])


def _place(core: int) -> tuple[int, ...]:
    """Where a core is: its package, the physical core that it is a thread of, its own number."""
    folder = Path(f"/sys/devices/system/cpu/cpu{core}/topology")
    try:
        package, physical = (
            int((folder / name).read_text()) for name in ("physical_package_id", "core_id")
        )
    except (OSError, ValueError):
        return (0, core, core)
    return (package, physical, core)


def _parts() -> int:
    stated = os.environ.get(_PARTS, "")
    return max(1, int(stated)) if stated.isdecimal() else 1


def _processor_share() -> float:
    """Processor time a second that the control group gives; infinite where it sets no limit."""
    for files in _PROCESSOR_GROUPS:
        with suppress(OSError, ValueError):
            quota, period = map(int, " ".join(Path(f).read_text() for f in files).split())
            return quota / period if quota > 0 and period > 0 else math.inf
    return math.inf


_PROCESSOR_GROUPS = (
    ("/sys/fs/cgroup/cpu.max",),  # "200000 100000", or "max 100000"
    ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)


def free_memory() -> int:
    """Bytes of memory that this process could still take: what the system calls available, and no
    more than its control group allows, or its part of that."""
    available = [_entry(Path("/proc/meminfo"), "MemAvailable", _UNKNOWN_MEMORY >> 10) << 10]
    for folder, limit, used, cached in _CGROUPS:
        with suppress(OSError, ValueError):
            most, held = (int((folder / name).read_text()) for name in (limit, used))
            # Files that were read and are not in use: the system drops them for whoever needs room.
            available.append(most - held + _entry(folder / "memory.stat", cached, 0))
    return max(0, min(available)) // _parts()


_CGROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    (
        Path("/sys/fs/cgroup/memory"),
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)
_UNKNOWN_MEMORY = 4 << 30
"""What is assumed where the system does not say."""


def _entry(file: Path, name: str, unknown: int) -> int:
    """The number of a line `name 123` or `name: 123 kB`; `unknown` where there is none."""
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            key, value, *_ = line.split()
            if key.rstrip(":") == name:
                return int(value)
    return unknown


def machine() -> dict[str, Any]:
    """What the speed of a CPU engine depends on: the processor and its instruction sets."""
    flags = cpu_flags()
    return {"cpu": cpu_model(), "flags": hashlib.sha256(flags.encode()).hexdigest()[:16]}


def cpu_flags() -> str:
    """The processor's instruction sets as Linux names them, in one line; empty elsewhere."""
    return _cpuinfo("flags") or _cpuinfo("Features")


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(entry: str) -> str:
    path = Path("/proc/cpuinfo")
    if sys.platform != "linux" or not path.exists():
        return ""
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == entry:
            return value.strip()
    return ""


def trim_memory() -> None:
    """Give memory that the process has freed back to the system, where the C library can.

    glibc keeps freed blocks below 32 MiB for later, however many they are.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return  # another C library, or another system
