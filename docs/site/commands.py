"""The page of all commands: what each says of itself with `--help`."""

import io
import os
import pkgutil
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from functools import cache
from unittest.mock import patch

import export.commands
import export.importers
from runtime.commands import commands
from runtime.console import main

_INTRODUCTION = """# Commands

What `--help` says of each command of `latentserve`. `latentserve train` is `python -m train`,
`latentserve export` is `python -m export`, and the other commands but `serve` and `bundle` are
`python -m runtime` and their name.
"""


def commands_page() -> str:
    """It as Markdown."""
    return "\n".join([_INTRODUCTION, *map(_section, command_names())])


def command_names() -> Iterator[tuple[str, ...]]:
    """The words of each command behind `latentserve`."""
    yield ("serve",)
    yield ("bundle",)
    yield from ((name,) for name in commands())
    yield ("train",)
    for package in (export.importers, export.commands):
        yield from (("export", found.name) for found in pkgutil.iter_modules(package.__path__))


@cache
def help_of(name: tuple[str, ...]) -> str:
    """What a command says of itself with `--help`."""
    said = io.StringIO()
    with patch.dict(os.environ, COLUMNS="92"), redirect_stdout(said), suppress(SystemExit):
        main([*name, "--help"])
    return said.getvalue().strip()


def _section(name: tuple[str, ...]) -> str:
    return f"## latentserve {' '.join(name)}\n\n```text\n{help_of(name)}\n```\n"
