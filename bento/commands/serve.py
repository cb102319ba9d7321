"""`latentserve serve`: the service over a folder of artifacts, started from any folder."""

import argparse
import errno
import os
import socket
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from bento.settings import PATHS, variable
from runtime.machine import to_install

SERVICE = "bento.service:LatentServe"
PACKAGES = Path(__file__).resolve().parents[2]
"""The folder that holds `bento` and `runtime`: the checkout, or site-packages."""
_FOLDER, _KEY, _WORKERS = map(variable, ("artifacts", "api_key", "workers"))


def main(
    arguments: Sequence[str] | None = None, prog: str = "python -m bento.commands.serve"
) -> int:
    """Become the server; returns 2, with one line, where it cannot be started."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address, or its name (default %(default)s)"
    )
    parser.add_argument("--port", type=int, default=3000, help="port (default %(default)s)")
    add_artifacts(parser)
    parser.add_argument(
        "--workers", metavar="N", help=f"processes that serve (default: ${_WORKERS}, or 1)"
    )
    parser.add_argument(
        "--api-key-file", type=Path, help=f"a file with the key that clients must send (or ${_KEY})"
    )
    args = parser.parse_args(arguments)
    environment = {**os.environ, "BENTOML_DO_NOT_TRACK": "True"}
    try:
        environment[_FOLDER] = str(artifacts_folder(args.artifacts))
        for name in (variable(setting) for setting in PATHS):
            if environment.get(name, "").strip():  # what is empty is refused by the service
                # BentoML goes to another folder before the service reads its settings.
                environment[name] = str(Path(environment[name]).absolute())
        if args.workers is not None:
            environment[_WORKERS] = args.workers
        if args.api_key_file is not None:
            environment[_KEY] = _key(args.api_key_file)
        address = free_address(args.host, args.port)
    except (OSError, ValueError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    where = ["--host", address, "--port", str(args.port), "--working-dir", str(PACKAGES)]
    # -P: not what lies in the current folder under the name of one of our packages. This process
    # becomes the server, so that a signal to it reaches the server.
    command = [sys.executable, "-P", "-m", "bentoml", "serve", SERVICE, *where]
    os.execve(sys.executable, command, environment)  # noqa: S606 - no shell


def _key(file: Path) -> str:
    """The key in a file. Raises ValueError where that is no text."""
    try:
        key = file.read_text("utf-8").strip()
    except UnicodeDecodeError:
        key = "\0"
    if "\0" in key:  # no process can be given such a setting
        raise ValueError(f"--api-key-file: expected text in UTF-8, found other bytes in {file}")
    return key


def add_artifacts(parser: argparse.ArgumentParser) -> None:
    """The folder of artifacts."""
    parser.add_argument(
        "--artifacts",
        type=Path,
        metavar="FOLDER",
        help=f"of artifacts (default: ${_FOLDER}, or artifacts in the current folder, or those "
        "that ship with the code)",
    )


def artifacts_folder(chosen: Path | None) -> Path:
    """The folder that was chosen, absolute. Raises ValueError where there is none, and where what
    serves it is not installed."""
    if find_spec("bentoml") is None:
        raise ValueError(f"No module named 'bentoml': {to_install('serve')}")
    named = chosen or os.environ.get(_FOLDER)
    places = [Path(named)] if named else [Path("artifacts"), PACKAGES / "artifacts"]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise ValueError(f"--artifacts: expected a folder of artifacts, found none at {places[0]}")
    return folder.absolute()  # a link stays one: it may lead elsewhere later, to new versions


def free_address(host: str, port: int) -> str:
    """The IP address of `host`, which BentoML wants. Raises ValueError where the service could not
    listen there; what BentoML says of that is a traceback."""
    if not 0 < port < 1 << 16:
        raise ValueError(f"--port: expected 1 to 65535, found {port}")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise _no_address(host, str(error)) from None
    # A name may have several: browsers and our own examples try IPv4.
    family, *_, place = min(found, key=lambda each: each[0] != socket.AF_INET)
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind(place)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                other = port + 1 if port < 65535 else port - 1
                raise ValueError(
                    f"--port: {port} is taken, by this service or by another program; choose "
                    f"another: --port {other} (make serve PORT={other})"
                ) from None
            if error.errno == errno.EACCES:
                raise ValueError(
                    f"--port: expected one that you may listen on, such as 3000, found {port}"
                ) from None
            raise _no_address(host, error.strerror or str(error)) from None
    return str(place[0])


def _no_address(host: str, reason: str) -> ValueError:
    return ValueError(
        f"--host: expected an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all, "
        f"found {host!r} ({reason})"
    )


if __name__ == "__main__":
    sys.exit(main())
