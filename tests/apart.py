"""`python -m tests.apart MODULE ...`: run a module where the network is one's own loopback.

Ray listens on several ports, and leaves processes behind where it is killed: the tests run it under
`APART`, in network and process namespaces of its own. There the loopback is down at first.
"""

import fcntl
import os
import runpy
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
APART = ("unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")

_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1
"""Of Linux: SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP."""


def can_be_apart() -> bool:
    return (
        shutil.which("unshare") is not None
        and subprocess.run([*APART, "true"], capture_output=True).returncode == 0
    )


def run_apart(
    module: str, *arguments: str, environment: Mapping[str, str], home: Path, seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run a module; `home` is where Ray keeps a token."""
    paths = filter(None, (str(ROOT), environment.get("PYTHONPATH")))
    of_ray = {"HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0"}
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:  # short: it holds sockets
        return subprocess.run(
            [*APART, sys.executable, "-m", "tests.apart", module, *arguments],
            env={
                **environment,
                **of_ray,
                "RAY_TMPDIR": folder,
                "PYTHONPATH": os.pathsep.join(paths),
            },
            capture_output=True,
            text=True,
            timeout=seconds,
        )


def raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh22x", b"lo", 0)
        flags = struct.unpack_from("h", fcntl.ioctl(any_socket, _GET_FLAGS, request), 16)[0]
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh22x", b"lo", flags | _UP))


if __name__ == "__main__":
    raise_loopback()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
