"""What every command says on the terminal: its last line, a hint where its name is mistyped, and
that it was stopped.

All go to stderr, so that what is piped on stays clean.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from difflib import get_close_matches
from errno import ENOSPC, EPIPE
from typing import TextIO

SERVE = ("latentserve", "serve", "--artifacts")
"""What serves the folder of artifacts that follows."""


def ended(command: Callable[[], int]) -> int:
    """The exit status of a command: 130, and one line, where Ctrl-C stops it; 141 where nobody
    reads on what it prints (`| head -1`), as shells give them for the two signals; 1, and one line,
    where there is no room for it."""
    out: TextIO | None = sys.stdout  # None where it was closed
    try:
        try:
            return command()
        finally:
            if out is not None:
                out.flush()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno not in (EPIPE, ENOSPC) or error.filename is not None:
            raise
        # What is left to print must not fail once more when Python ends.
        with suppress(OSError, ValueError):
            if out is not None:
                os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        if error.errno == EPIPE:
            return 141
        print(f"standard output cannot be written: {error.strerror}", file=sys.stderr)
        return 1


def conclude(made: str, *command: object) -> None:
    """The last line of a command: what was made and where, and the command to go on with."""
    print(f"{made}; next: {shlex.join(map(str, command))}", file=sys.stderr)


def in_words(count: int, what: str) -> str:
    """A number of things, in words."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def check_command(
    parser: argparse.ArgumentParser, given: Sequence[str], known: Collection[str]
) -> None:
    """End with a usage error that names the nearest command, where the first argument is none."""
    first = given[0] if given else ""
    if first.startswith("-") or first in known or not first:
        return
    near = get_close_matches(first, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
    parser.error(f"no command {first!r}: {hint}")
