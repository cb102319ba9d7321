"""The commands of `python -m runtime`: one module each, named as its command.

A command's docstring is its help, `add_arguments(parser)` adds its arguments, and `run(args)` runs
it and prints or writes its output. The commands share the modules whose names begin with `_`.
"""

import argparse
from importlib import import_module
from pkgutil import iter_modules


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add every command of this package to the parser; `run` of the parsed arguments is the chosen
    command's."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in sorted(found.name for found in iter_modules(__path__)):
        if name.startswith("_"):
            continue
        module = import_module(f"{__name__}.{name}")
        command = commands.add_parser(name, help=module.__doc__, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
