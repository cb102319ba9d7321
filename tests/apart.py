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
    *module: str, environment: dict[str, str] | None = None, seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run a module with its arguments; what it printed. For Ray, $HOME must be the test's own."""
    paths = filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
    return subprocess.run(
        [*APART, sys.executable, "-m", "tests.apart", *module],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **(environment or {})},
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
