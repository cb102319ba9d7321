"""`python -m tests.apart COMMAND ...`: run a command where the network is one's own loopback.

Ray listens on several ports, and leaves processes behind where it is killed: the tests run it under
`APART`, in network and process namespaces of its own. There the loopback is down at first.
"""

import fcntl
import os
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
    *command: str,
    environment: Mapping[str, str],
    home: Path,
    seconds: float,
    folder: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command, of which `python` is the interpreter that runs this; `home` is where Ray keeps
    a token."""
    paths = filter(None, (str(ROOT), environment.get("PYTHONPATH")))
    with tempfile.TemporaryDirectory(prefix="ray-") as sockets:  # whose paths must be short
        return subprocess.run(
            [*APART, sys.executable, "-m", "tests.apart", *command],
            env={
                **environment,
                "HOME": str(home),
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}",
                "PYTHONPATH": os.pathsep.join(paths),
                "RAY_TMPDIR": sockets,
                "RAY_USAGE_STATS_ENABLED": "0",
            },
            cwd=folder,
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
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - our own
