"""The commands of `python -m runtime`: one module each, named as its command.

A command's docstring is its help, `add_arguments(parser)` adds its arguments, and `run(args)` runs
it and prints or writes its output. The commands share the modules whose names begin with `_`.
"""

import argparse
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any


class _Command(argparse.ArgumentParser):
    """Says itself which of its arguments it does not know: the program's own parser, which would
    say it otherwise, shows the usage of no command."""

    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, args: Any = None, namespace: Any = None
    ) -> Any:
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(_told(unknown, [*self._option_string_actions]))
        return known, unknown


def _told(unknown: Sequence[str], options: Sequence[str]) -> str:
    told = f"unrecognized arguments: {' '.join(unknown)}"
    near = get_close_matches(unknown[0].partition("=")[0], options, n=1)
    return f"{told} (did you mean {near[0]}?)" if near and unknown[0].startswith("-") else told


@cache
def commands() -> Mapping[str, ModuleType]:
    """Every command of this package, by name."""
    names = sorted(found.name for found in iter_modules(__path__))
    return {name: import_module(f"{__name__}.{name}") for name in names if name[0] != "_"}


def summary(module: ModuleType) -> str:
    """What a command does, in one line."""
    return (module.__doc__ or "").partition("\n")[0]


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add every command of this package to the parser; `run` of the parsed arguments is the chosen
    command's."""
    added = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Command)
    for name, module in commands().items():
        command = added.add_parser(name, help=summary(module), description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
