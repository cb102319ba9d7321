"""The code blocks of the documentation, read and run as a reader would.

The fence's second word says what a block needs: nothing (`bash`, `python`: run by the tests),
`serve` (starts the server that the other blocks ask) or `data` (trains on a data set: run by
`make docs-check DATA=…`). A Python block that begins with `# name.py` is saved under that name
first. Blocks in other languages (text, json, toml) are shown, not run.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

RUN = ("bash", "python")
SHOWN = ("", "text", "json", "toml")
NEEDS = ("", "serve", "data")

_FENCE = re.compile(r"^```(\S*)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block: where it stands, its language, what it needs, its text."""

    page: str
    line: int
    language: str
    needs: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def read_blocks(page: Path) -> list[Block]:
    """The blocks of one page that are not only shown, in order."""
    text = page.read_text("utf-8")
    return [
        Block(
            str(page.relative_to(ROOT)),
            text.count("\n", 0, match.start()) + 1,
            match[1],
            match[2] or "",
            match[3],
        )
        for match in _FENCE.finditer(text)
        if match[1] not in SHOWN
    ]


def run_block(block: Block, folder: Path, replacements: dict[str, str], seconds: float) -> None:
    """Run one block in `folder`; raises AssertionError with its output where it fails."""
    code = block.code
    for old, new in replacements.items():
        code = code.replace(old, new)
    if block.language == "python":
        named = re.match(r"# (\w+\.py)\n", code)
        if named:
            (folder / named[1]).write_text(code, "utf-8")
        command = [sys.executable, "-c", code]
    else:
        command = ["bash", "-euo", "pipefail", "-c", code]
    # `python` in a block is the interpreter that runs the tests; `folder` holds its packages.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds
    )
    output = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, f"{block} failed with {done.returncode}:\n{code}\n{output}"


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
