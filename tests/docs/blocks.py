"""The code blocks of the documentation, found and run as a reader would.

A comment on the line before a block, which no reader sees, says where it is not simply run:

- `<!-- not run: REASON -->`, with one of `REASONS`. Of such a block the syntax is checked, and our
  own commands in it are parsed by their own parsers.
- `<!-- in the background -->`: it starts a server, which the page's later blocks ask.

A Python block that begins with `# name.py` is saved under that name first. Blocks in other
languages (text, json, toml) are shown, not run.
"""

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
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
REASONS = (
    DATA_SET,  # it trains on MNIST or CIFAR-10: `make docs-check DATA=...` runs it
    RAY,  # `test_pages.py` runs it, apart, where Ray is installed
    "needs a GPU",
    "needs a container engine",
    "needs a cluster",
    "needs an object store",
    "needs a download",
    "needs another model",  # one that this repository does not ship
    "needs your files",  # pictures or weights
    "takes an hour",
    "installs packages",
)

_DIFFUSERS = """import runpy, sys
from export.torchvision_operators import declare_operators
declare_operators()
runpy.run_path(sys.argv[1], run_name="__main__")"""
"""diffusers wants torchvision's operators, whatever torch that was built for."""

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


def run_block(
    block: Block,
    folder: Path,
    replacements: Mapping[str, str],
    seconds: float,
    python: Path = Path(sys.executable),
) -> None:
    """Run one block in `folder`, which holds our packages, and where `python` is that one; raises
    AssertionError with its output where it fails."""
    code = block.code
    for old, new in replacements.items():
        code = code.replace(old, new)
    if block.language == "python":
        named = re.match(r"# (\w+\.py)\n", code)
        file = folder / (named[1] if named else "block.py")
        file.write_text(code, "utf-8")
        command = [python, *(("-c", _DIFFUSERS) if "diffusers" in code else ()), file.name]
    else:
        command = ["bash", "-euo", "pipefail", "-c", code]
    # Other commands are those of the interpreter that runs the tests.
    path = os.pathsep.join(
        (*map(str, (python.parent, Path(sys.executable).parent)), os.environ["PATH"])
    )
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds
    )
    output = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, f"{block} failed with {done.returncode}:\n{code}\n{output}"


def program(words: Sequence[str]) -> tuple[str, list[str]]:
    """The module whose `main` a command calls, and its arguments."""
    if words[0] == "latentserve":
        return "runtime.console", list(words[1:])
    return f"{words[2]}.__main__", list(words[3:])


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
