"""`python -m runtime`: use an artifact from the command line."""

import argparse
import logging
import sys
from collections.abc import Sequence

from runtime.commands import add_commands, commands
from runtime.commands._output import check_output
from runtime.errors import LatentServeError
from runtime.terminal import check_command, ended


def main(arguments: Sequence[str] | None = None, prog: str = "python -m runtime") -> int:
    """Run one command; returns the exit status (2 where the input is at fault)."""
    return ended(lambda: _run(arguments, prog))


def _run(arguments: Sequence[str] | None, prog: str) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    add_commands(parser)
    check_command(parser, given, commands())
    try:
        args = parser.parse_args(given)
        level = logging.INFO if getattr(args, "verbose", False) else logging.WARNING
        logging.basicConfig(level=level, format="%(message)s")
        check_output(args)
        args.run(args)
    except LatentServeError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    except MemoryError:
        print(
            "MemoryError: not enough memory for all images at once: ask for fewer, or write them "
            "as .npy or into a folder, which needs no more memory for many images than for a few",
            file=sys.stderr,
        )
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
