"""`python -m export`: networks become artifacts; artifacts get variants, engines and signatures."""

import argparse
import importlib
import logging
import pkgutil
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType

from export import commands, importers
from export.api import export_imported
from export.arguments import add_precisions
from export.report import report
from export.sources import Imported
from runtime.errors import ExportError, LatentServeError
from runtime.machine import to_install
from runtime.terminal import check_command, ended


def main(arguments: Sequence[str] | None = None, prog: str = "python -m export") -> int:
    """Run one command; returns the exit status (2 where the input is at fault)."""
    return ended(lambda: _run(arguments, prog))


def _run(arguments: Sequence[str] | None, prog: str) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    check_command(parser, given, _add_commands(parser))
    args = parser.parse_args(given)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logger = logging.getLogger("export")
    logger.setLevel(logging.DEBUG if args.verbose else logging.INFO)
    try:
        args.run(args)
    except LatentServeError as error:
        logger.debug("where it failed:", exc_info=True)
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


def _add_commands(parser: argparse.ArgumentParser) -> Collection[str]:
    """Add every importer and every command to the parser; their names."""
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for package in (importers, commands):
        for name, module in _modules(package):
            title = (module.__doc__ or "").partition("\n")[0]
            command = subparsers.add_parser(name, help=title, description=module.__doc__)
            module.add_arguments(command)
            command.add_argument("--verbose", "-v", action="store_true", help="tracebacks too")
            if package is importers:
                command.add_argument("--out", type=Path, default=Path("artifacts"))
                command.add_argument("--version", type=int, help="default: the next free number")
                add_precisions(command)
                command.set_defaults(run=partial(_import, module.load))
            else:
                command.set_defaults(run=module.run)
    return subparsers.choices


def _modules(package: ModuleType) -> Iterator[tuple[str, ModuleType]]:
    for found in pkgutil.iter_modules(package.__path__):
        yield found.name, importlib.import_module(f"{package.__name__}.{found.name}")


def _import(load: Callable[[argparse.Namespace], Imported], args: argparse.Namespace) -> None:
    try:
        imported = load(args)
    except ModuleNotFoundError as error:
        raise ExportError(f"{error}: {to_install('export')}") from error
    report(export_imported(imported))


if __name__ == "__main__":
    sys.exit(main())
