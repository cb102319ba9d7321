"""`python -m runtime`: use an artifact from the command line."""

import argparse
import logging
import sys
from collections.abc import Sequence

from runtime.commands import add_commands
from runtime.errors import LatentServeError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (2 where the input is at fault)."""
    parser = argparse.ArgumentParser(prog="python -m runtime", description=__doc__)
    add_commands(parser)
    try:
        args = parser.parse_args(arguments)
        level = logging.INFO if args.verbose else logging.WARNING
        logging.basicConfig(level=level, format="%(message)s")
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
