"""The console script `latentserve`: the commands of all our packages under one name.

`latentserve sample ...` is `python -m runtime sample ...`, `latentserve train ...` is
`python -m train ...`. The other packages are imported only when they are asked for: each has
libraries that only its extra brings.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from runtime.machine import installed_version, to_install
from runtime.terminal import check_command


@dataclass(frozen=True)
class _Program:
    """A command of another package: `main(arguments, prog)` of a module, and the extra that has
    what it imports."""

    module: str
    extra: str
    summary: str
    imports_theirs: bool = False
    """Whether it imports the user's own modules, from the current folder."""


_PROGRAMS = {
    "serve": _Program("bento.commands.serve", "serve", "Serve a folder of artifacts over HTTP."),
    "bundle": _Program(
        "bento.commands.bundle", "serve", "Pack the service and its artifacts as a Bento."
    ),
    "train": _Program("train.__main__", "train", "Train a recipe into a run folder."),
    "export": _Program(
        "export.__main__", "export", "Make an artifact of a network; sign it, build engines.", True
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status (2 where the input is at fault)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in _PROGRAMS:
        return _run(given[0], given[1:])
    # Not earlier: `serve` need not wait until they are imported.
    from runtime.__main__ import main as run_command
    from runtime.commands import commands

    if given and given[0] in commands():
        return run_command(given, prog="latentserve")
    parser = _parser()
    check_command(parser, given, {**commands(), **_PROGRAMS})
    parser.parse_args(given)
    parser.print_help()
    return 2


def _run(name: str, arguments: list[str]) -> int:
    program = _PROGRAMS[name]
    try:
        module = import_module(program.module)
    except ModuleNotFoundError as error:
        print(f"latentserve {name}: {error}: {to_install(program.extra)}", file=sys.stderr)
        return 2
    if program.imports_theirs:
        # Behind all others, unlike what `python -m` does: a file train.py there is not ours.
        sys.path.append(str(Path.cwd()))
    return module.main(arguments, f"latentserve {name}")


def _parser() -> argparse.ArgumentParser:
    """It only tells what there is: each command has a parser of its own."""
    from runtime.commands import commands, summary

    titles = {name: summary(module) for name, module in commands().items()}
    titles |= {name: program.summary for name, program in _PROGRAMS.items()}
    listed = "\n".join(f"  {name:<12} {title}" for name, title in titles.items())
    parser = argparse.ArgumentParser(
        prog="latentserve",
        usage="latentserve COMMAND ...",
        description=f"Images from VAE decoders and GAN generators. Commands:\n\n{listed}",
        epilog="`latentserve COMMAND --help` describes one of them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=str(installed_version("latentserve"))
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
