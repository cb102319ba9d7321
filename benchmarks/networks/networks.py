"""Other people's networks at real size, random weights: exported, loaded, compared with their own
library. docs/networks.md shows the records."""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benchmarks.report import environment, markdown, table
from benchmarks.speed.performance import Recorded
from benchmarks.speed.publishing import RECORDS as SPEED_RECORDS

RECORDS = Path(__file__).parent / "records"
PAGE = Path(__file__).parents[2] / "docs" / "networks.md"
TEMPLATE = Path(__file__).with_suffix(".md")

_HEADER = (
    "network",
    "export",
    "its memory",
    "load",
    "memory served",
    "images/s",
    "largest difference",
)


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks networks`"""
    parser = argparse.ArgumentParser(prog="python -m benchmarks networks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="those whose name begins so")
    parser.add_argument("--list", action="store_true", help="name the rows")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep weights and artifacts")
    parser.add_argument("--record", action="store_true", help="keep the figures")
    parser.add_argument("--page", action="store_true", help="write docs/networks.md of the records")
    options = parser.parse_args(arguments)
    rows = [n for n in _names() if not options.rows or n.startswith(tuple(options.rows))]
    if options.list:
        print("\n".join(rows))
        return
    if not options.page:
        for name in rows:
            figures = measured(name, options.keep)
            print(table(_HEADER, [cells(name, figures)]), flush=True)
            if options.record:
                RECORDS.mkdir(exist_ok=True)
                text = json.dumps({**figures, "environment": environment()}, indent=2)
                (RECORDS / f"{stem(name)}.json").write_text(text + "\n")
    else:
        PAGE.write_text(page())


def measured(name: str, keep: Path | None = None) -> dict[str, Any]:
    """One row, each step in a process of its own; `error` where a step fails."""
    with nullcontext(keep) if keep else tempfile.TemporaryDirectory() as root:
        folder = Path(root) / stem(name)
        folder.mkdir(parents=True, exist_ok=True)
        written = run_python("-m", "benchmarks.networks.write", name, str(folder))
        if written["status"]:
            return {"error": written["said"]}
        row = json.loads(written["output"].splitlines()[-1])  # Keras prints before it
        arguments = row["export"]
        shutil.rmtree(folder / "artifacts", ignore_errors=True)
        exported = run_python("-m", "export", *arguments, "--out", str(folder / "artifacts"))
        figures: dict[str, Any] = {
            "command": _command(arguments, folder),
            "export": {key: exported[key] for key in ("seconds", "bytes")},
        }
        if exported["status"]:
            return figures | {"error": exported["said"]}
        (artifact,) = (folder / "artifacts").glob("*/1")
        trial = ("-m", "benchmarks.networks.trial", name, str(folder), str(artifact))
        tried = run_python(*trial, json.dumps(row["sizes"]))
        if tried["status"]:
            return figures | {"error": tried["said"]}
        return figures | {"trial": json.loads(tried["output"].splitlines()[-1])}


def _names() -> list[str]:
    # In a process of their own: this one must stay small, for its memory counts as that of those
    # that it starts, until they are there.
    return json.loads(run_python("-m", "benchmarks.networks.write")["output"])


def run_python(*arguments: str) -> dict[str, Any]:
    """A Python process: its seconds, its bytes of resident memory at the peak, what it said."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(  # noqa: S603 - our own modules
            (sys.executable, *arguments), stdout=out, stderr=said
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:  # Ctrl-C or SIGTERM: no export is left behind
            process.kill()
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        texts: list[str] = []
        for file in (out, said):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return {
        "status": process.returncode,
        "seconds": time.monotonic() - began,
        "bytes": usage.ru_maxrss << 10,
        "output": texts[0],
        "said": texts[1].strip().splitlines()[-1] if texts[1].strip() else "",
    }


def _command(arguments: Sequence[str], folder: Path) -> str:
    return shlex.join(["python", "-m", "export", *arguments]).replace(f"{folder}/", "")


def cells(name: str, figures: Mapping[str, Any]) -> list[str]:
    """A row of the table."""
    export, trial = figures.get("export"), figures.get("trial")
    made = ["-", "-"] if export is None else [f"{export['seconds']:.0f} s", _gb(export["bytes"])]
    if trial is None:
        return [name, *made, "-", "-", "-", f"failed: {figures.get('error', '')}"]
    speeds = ", ".join(f"{case} {_short(value)}" for case, value in trial["images/s"].items())
    return [
        name,
        *made,
        f"{trial['loads in']:.0f} s",
        _gb(trial["bytes"]),
        speeds,
        _difference(trial["differences"]),
    ]


def _difference(compared: Mapping[str, Mapping[str, float]]) -> str:
    """The largest of every output over all sizes: grey levels of images, else relative."""
    most: dict[str, float] = {}
    for outputs in compared.values():
        for name, value in outputs.items():
            if not name.startswith("std of "):
                most[name] = max(most.get(name, 0.0), value)
    return ", ".join(f"{name} {value:.2g}" for name, value in most.items())


def _short(value: float) -> str:
    return f"{value:.3g}"


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def page() -> str:
    """docs/networks.md: the template with the records' table and commands."""
    records = {name: RECORDS / f"{stem(name)}.json" for name in _names()}
    read = {name: json.loads(path.read_text()) for name, path in records.items() if path.is_file()}
    rows = markdown(_HEADER, (cells(name, record) for name, record in read.items()))
    commands = "\n".join(
        f"# {name}\n{record['command']}" for name, record in read.items() if "command" in record
    )
    places = {json.dumps([r["environment"][k] for k in ("cpu", "cores")]) for r in read.values()}
    if len(places) != 1:
        raise ValueError(f"expected records of one machine, found {sorted(places)}: measure again")
    where = next(iter(read.values()))["environment"]
    versions = where["versions"]
    speed = SPEED_RECORDS / "diffusion.json"
    return (
        TEMPLATE.read_text()
        .replace("{rows}\n", rows)
        .replace("{commands}", commands)
        .replace("{machine}", f"{where['cores']} cores of {where['cpu']}")
        .replace("{onnxruntime}", versions.get("onnxruntime", "?"))
        .replace("{speed}", str(Recorded(speed)) if speed.is_file() else "Not measured yet.")
    )


def stem(name: str) -> str:
    """A name as that of a file."""
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-").replace("--", "-")
