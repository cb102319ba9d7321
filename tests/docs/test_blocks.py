"""Every code block says truly what it is; those that are not run are at least read."""

import argparse
import ast
import importlib
import re
import shlex
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import found
from docs.site.commands import command_names, help_of
from tests.docs.blocks import (
    BACKGROUND,
    PAGES,
    REASONS,
    ROOT,
    RUN,
    SHOWN,
    Block,
    all_blocks,
    program,
    read_blocks,
)

BLOCKS = [block for page in PAGES for block in read_blocks(page)]
UNRUN = [block for block in BLOCKS if block.reason is not None]
BENCHMARKS = found()
OURS = ("train", "export", "runtime", "benchmarks", "bento.commands.serve", "bento.commands.bundle")

COMMAND = re.compile(
    r"^\s*(?:python|pip|latentserve|curl|make|docker|kubectl|serve) ", re.MULTILINE
)


def test_every_block_says_truly_what_it_is() -> None:
    odd = [
        f"{block}: {block.language} {block.mark}"
        for page in PAGES
        for block in all_blocks(page)
        if block.language not in RUN + SHOWN
        or not (block.mark in ("", BACKGROUND) or block.reason in REASONS)
        or (block.language in SHOWN and (block.mark or COMMAND.search(block.code)))
    ]
    assert not odd


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "bash"], ids=str)
def test_bash_understands_it(block: Block) -> None:
    read = subprocess.run(["bash", "-n"], input=block.code, capture_output=True, text=True)  # noqa: S607
    assert read.returncode == 0, read.stderr


@pytest.mark.parametrize("block", [b for b in UNRUN if b.language == "python"], ids=str)
def test_python_that_is_not_run_is_python(block: Block) -> None:
    assert ast.parse(block.code, str(block)).body


class _ParsedError(Exception):
    """A command's arguments have been understood."""


@pytest.mark.parametrize("block", [b for b in UNRUN if b.language == "bash"], ids=str)
def test_commands_that_are_not_run_are_understood(
    block: Block, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each of our commands reaches the end of its own parser, and is stopped there."""
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser: argparse.ArgumentParser, *given: Any) -> argparse.Namespace:
        options = parse(parser, *given)
        if getattr(options, "rest", None) is not None:  # `python -m benchmarks NAME ...`: theirs
            return options
        raise _ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    monkeypatch.chdir(tmp_path)
    for module, arguments in _ours(block.code):
        with pytest.raises(_ParsedError):
            importlib.import_module(module).main(arguments)


def _ours(code: str) -> list[tuple[str, list[str]]]:
    """Our commands in a block, whatever stands before them (`torchrun`, settings)."""
    found: list[tuple[str, list[str]]] = []
    for line in re.sub(r"\\\n *", "", code).splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["latentserve"]:
            found.append(program(words))
        elif "-m" in words and (rest := words[words.index("-m") :])[1] in OURS:
            found.append(program(["python", *rest]))
    return found


def test_a_renamed_option_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = Block("page.md", 1, "bash", "", "python -m train digits_vae --no-such-option 1\n")
    with pytest.raises(SystemExit):
        test_commands_that_are_not_run_are_understood(block, monkeypatch, tmp_path)


_SPAN = re.compile(r"`(python -m|latentserve) ([^`]+)`")


def test_commands_in_the_text_exist_and_have_these_options() -> None:
    """`python -m export prior --images` and its like, in the middle of a sentence or a table."""
    odd: list[str] = []
    for page in PAGES:
        text = re.sub(r"^ *```.*?^ *```$", "", page.read_text("utf-8"), flags=re.M | re.S)
        for start, rest in _SPAN.findall(text):
            strange = _strange(start, rest.split())
            odd += [f"{page.relative_to(ROOT)}: {start} {rest}: no {word}" for word in strange]
    assert not odd


def _strange(start: str, words: list[str]) -> list[str]:
    """What of a command does not exist: its name, or some of its options."""
    if start == "python -m":
        package, *words = words
        if package not in ("runtime", "train", "export", "benchmarks"):
            return [] if find_spec(package) else [package]
        if package == "benchmarks":
            return [word for word in words[:1] if word.islower() and word not in BENCHMARKS]
        words = words if package == "runtime" else [package, *words]
    if words in ([], ["export"]) or words[0].isupper():  # COMMAND, and the whole program
        return []
    for name in command_names():
        if tuple(words[: len(name)]) == name:
            said = help_of(name)
            return [word for word in words if word.startswith("--") and word not in said]
    return [" ".join(words[:2])]


@pytest.mark.parametrize(
    ("start", "rest", "found"),
    [
        ("python -m", "export prior --images PICTURES --no-such PATH", ["--no-such"]),
        ("python -m", "runtime smaple", ["smaple"]),
        ("latentserve", "export no-such", ["export no-such"]),
        ("python -m", "benchmarks no-such", ["no-such"]),
        ("python -m", "tests.no_such", ["tests.no_such"]),
    ],
)
def test_a_misspelt_command_is_found(start: str, rest: str, found: list[str]) -> None:
    assert _strange(start, rest.split()) == found


def test_every_local_link_leads_somewhere() -> None:
    # Those of docs/ are looked at where the site is built (test_site.py).
    broken: list[str] = []
    for page in PAGES:
        if not page.is_relative_to(ROOT / "docs"):
            for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8")):
                if "://" not in target and not (page.parent / target).exists():
                    broken.append(f"{page.relative_to(ROOT)} -> {target}")
    assert not broken
