"""What every command says on the terminal: its last line, and a hint where its name is mistyped.

Both go to stderr, so that what is piped on stays clean.
"""

import argparse
import shlex
import sys
from collections.abc import Collection, Sequence
from difflib import get_close_matches

SERVE = ("latentserve", "serve", "--artifacts")
"""What serves the folder of artifacts that follows."""


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
