"""The code blocks of the documentation, found and run as a reader would.

A comment on the line before a block, which no reader sees, says where it is not simply run:

- `<!-- not run: REASON -->`, with one of `REASONS`. Of such a block the syntax is checked, and our
  own commands in it are parsed by their own parsers.
- `<!-- in the background -->`: it starts a server, which the page's later blocks ask.

A Python block that begins with `# name.py` is saved under that name first. Blocks in other
languages (text, json, toml) are shown, not run.
"""

import importlib
import os
import re
import runpy
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from operator import ne
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "artifacts").glob("*/*/README.md")),
]

RUN = ("bash", "python")
SHOWN = ("text", "json", "toml")
BACKGROUND = "in the background"
DATA_SET = "needs a data set"
RAY = "needs Ray"
FORKS = "starts processes"
REASONS = (
    DATA_SET,  # it trains on MNIST or CIFAR-10: `make docs-check DATA=...` runs it
    # In a process that has loaded OpenVINO with AMX, the end of a child can overflow the stack that
    # faulthandler gives to signals: this one is run in a process of its own.
    FORKS,
    RAY,  # `test_pages.py` runs it, apart, where Ray is installed
    "needs a GPU",
    "needs a container engine",
    "needs a cluster",
    "needs a download",
    "needs another model",  # one that this repository does not ship
    "needs your files",  # pictures or weights
    "takes an hour",
    "installs packages",
)

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>.*)$")
_MARK = re.compile(r"^ *<!-- (.*) -->$")


@dataclass(frozen=True)
class Block:
    """One fenced block: where it stands, what is written behind its fence and before it, its
    text."""

    page: str
    line: int
    language: str
    mark: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def reason(self) -> str | None:
        """Why it is not run; None where it is."""
        said, _, reason = self.mark.partition("not run: ")
        return None if said or not reason else reason


def read_blocks(page: Path) -> list[Block]:
    """The blocks of one page that are not only shown, in order."""
    return [block for block in all_blocks(page) if block.language not in SHOWN]


def all_blocks(page: Path) -> Iterator[Block]:
    """Every fenced block of one page, in order."""
    lines = iter(enumerate(page.read_text("utf-8").splitlines(), 1))
    before = ""
    for number, line in lines:
        if fence := _FENCE.match(line):
            inside = partial(ne, f"{fence['indent']}```")
            code = takewhile(inside, (text for _, text in lines))
            mark = _MARK.match(before)
            yield Block(
                str(page.relative_to(ROOT)),
                number,
                fence["language"],
                mark[1] if mark else "",
                textwrap.dedent("\n".join(code)) + "\n",
            )
        before = line


def commands(code: str) -> list[list[str]] | None:
    """The words of each line of a bash block; None where it takes a shell to run it."""
    lines = [shlex.split(line, comments=True) for line in re.sub(r"\\\n *", "", code).splitlines()]
    lines = [words for words in lines if words]
    plain = all(words[0] in ("python", "latentserve") for words in lines)
    quiet = not re.search(r"[|&;<>$*]", re.sub(r"'[^']*'|#.*", "", code))
    return lines if plain and quiet else None


def run_block(block: Block, folder: Path, replacements: Mapping[str, str], seconds: float) -> None:
    """Run one block in `folder`; raises AssertionError where it fails.

    Python and our own commands run in this process, which spares each of them the seconds in which
    a new one imports torch.
    """
    code = block.code
    for old, new in replacements.items():
        code = code.replace(old, new)
    if block.language == "bash":
        lines = commands(code)
        if lines is None:
            _bash(block, code, folder, seconds)
            return
    else:
        named = re.match(r"# (\w+\.py)\n", code)
        file = folder / (named[1] if named else "block.py")
        file.write_text(code, "utf-8")
        lines = [["python", file.name]]
    with _inside(folder):
        for words in lines:
            status = _run(words)
            assert not status, f"{block}: {shlex.join(words)} ended with {status}"


def _bash(block: Block, code: str, folder: Path, seconds: float) -> None:
    # `python` in a block is the interpreter that runs the tests; `folder` holds its packages.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],  # noqa: S607
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    output = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, f"{block} failed with {done.returncode}:\n{code}\n{output}"


def _run(words: Sequence[str]) -> int | str | None:
    """The exit status of `python FILE`, `python -m PACKAGE ...` or `latentserve ...`."""
    try:
        if words[0] == "python" and words[1] != "-m":
            runpy.run_path(words[1], run_name="__main__")
            return 0
        module, arguments = program(words)
        return importlib.import_module(module).main(arguments)
    except SystemExit as ended:
        return ended.code


def program(words: Sequence[str]) -> tuple[str, list[str]]:
    """The module whose `main` a command calls, and its arguments."""
    if words[0] == "latentserve":
        return "runtime.console", list(words[1:])
    return f"{words[2]}.__main__", list(words[3:])


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """In `folder`, whose modules can be imported, and are forgotten afterwards."""
    known = set(sys.modules)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        with chdir(folder):
            yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - known:
            if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == folder:
                del sys.modules[name]


def copy_repository(target: Path) -> Path:
    """What a clean clone of this working tree holds."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        source = ROOT / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(source.read_bytes())
    return target
