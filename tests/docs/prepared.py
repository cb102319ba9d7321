"""A `python` for the commands of a page that has imported torch, and has exported a graph, before
any of them runs: two to five seconds of a core for each.

A process that has done so forks itself for every `python FILE`, `python -m MODULE` and `python -c
CODE` of a page, each with its caller's arguments, folder, environment and files. Nothing of ours is
imported before: a command imports it from where it is run.
"""

import gc
import json
import os
import runpy
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from select import select
from typing import Any

from tests.exporter import keep_tables

ROOT = Path(__file__).parents[2]

_PYTHON = """#!{python} -IS
import json, os, socket, sys

given = sys.argv[1:]
if not given or given[0][:1] == "-" and given[0] not in ("-c", "-m"):
    os.execv({python!r}, [{python!r}, *given])
asked = json.dumps([given, os.getcwd(), dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as prepared:
    prepared.connect({address!r})
    socket.send_fds(prepared, [len(asked).to_bytes(4, "big")], [0, 1, 2])
    prepared.sendall(asked)
    sys.exit(int(prepared.recv(8) or 1))  # nothing: what was to run the command has ended
"""


@contextmanager
def prepared(folder: Path) -> Iterator[Path]:
    """The path of such a `python`, which works until this ends."""
    python, address = folder / "python", str(folder / "socket")
    python.write_text(_PYTHON.format(python=sys.executable, address=address), "utf-8")
    python.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-m", "tests.docs.prepared", address]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(1), "could not prepare: the error is above"
        yield python  # after which its input is closed, which ends it


def _main(address: str) -> None:
    """Prepare, then be every command that is asked for, each in a process of its own."""
    import torch

    keep_tables()
    with warnings.catch_warnings(action="ignore"):  # of torch's, about torch
        torch.onnx.export(torch.nn.ReLU().eval(), (torch.zeros(1),), dynamo=True, verbose=False)
    gc.collect()
    gc.freeze()
    found = sys.path[1:]  # `python -m` put the folder of its caller first
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        os.write(1, b".")
        asked = _asked(listener)
    if asked is not None:
        _be(*asked, found)


def _asked(listener: socket.socket) -> tuple[list[str], str, dict[str, str]] | None:
    """What a caller asks for, in a process of its own; None where there will be none any more."""
    while sys.stdin not in select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        with connection:
            if os.fork() == 0:
                size, files, *_ = socket.recv_fds(connection, 4, 3)
                for number, file in enumerate(files):
                    os.dup2(file, number)
                    os.close(file)
                asked = connection.makefile("rb").read(int.from_bytes(size, "big"))
                if command := os.fork():
                    _, status = os.waitpid(command, 0)
                    connection.sendall(b"%d" % os.waitstatus_to_exitcode(status))
                    os._exit(0)
                return tuple(json.loads(asked))
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    return None


def _be(given: list[str], folder: str, environment: dict[str, str], found: list[str]) -> None:
    """Run a command as Python does."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    named = environment.get("PYTHONPATH", "").split(os.pathsep)
    kind, *rest = given
    first = folder if kind in ("-c", "-m") else str(Path(kind).resolve().parent)
    sys.path[:] = [first, *filter(None, named), *found]
    if kind == "-m":
        sys.argv[:] = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv[:] = ["-c", *rest[1:]]
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(rest[0], names)  # noqa: S102
    else:
        sys.argv[:] = given
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    _main(sys.argv[1])
