"""Seeded damage to artifacts: accidents of bytes and files, and forgeries whose checksums are true.

`python -m tests.runtime.mutations 100000` runs a campaign; the tests run a short one.
"""

import argparse
import hashlib
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from runtime import ArtifactError, EngineError, load
from runtime.artifact.reading import read_artifact
from tests.tiny import replace_file, write_artifact

Mutation = Callable[[random.Random, Path], str]

SECONDS = 10.0
"""What judging one mutation may take: more is a hang."""


@dataclass(frozen=True)
class Outcome:
    """What became of one mutation: `refused`, `equal` (nothing that counts was changed), or of a
    forgery that is a sound artifact again `loaded` or `not reproduced` (the golden images tell)."""

    kind: str
    what: str
    outcome: str


def _file(rng: random.Random, folder: Path) -> Path:
    return rng.choice(sorted(folder.iterdir()))


def flip(rng: random.Random, folder: Path) -> str:
    """One bit."""
    path = _file(rng, folder)
    data = bytearray(path.read_bytes())
    position = rng.randrange(len(data))
    data[position] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    return f"{path.name} at {position}"


def truncate(rng: random.Random, folder: Path) -> str:
    path = _file(rng, folder)
    data = path.read_bytes()
    kept = rng.randrange(len(data))
    path.write_bytes(data[:kept])
    return f"{path.name} to {kept}"


def lengthen(rng: random.Random, folder: Path) -> str:
    path = _file(rng, folder)
    path.write_bytes(path.read_bytes() + rng.randbytes(rng.randint(1, 64)))
    return path.name


def splice(rng: random.Random, folder: Path) -> str:
    """A stretch of one file over a stretch of another."""
    source, target = _file(rng, folder).read_bytes(), _file(rng, folder)
    data = bytearray(target.read_bytes())
    size = rng.randint(1, min(64, len(source), len(data)))
    start, at = rng.randrange(len(source) - size + 1), rng.randrange(len(data) - size + 1)
    data[at : at + size] = source[start : start + size]
    target.write_bytes(data)
    return f"{target.name} at {at}"


def rearrange(rng: random.Random, folder: Path) -> str:
    """A file that is missing, extra, renamed, swapped, a folder or a link."""
    first, second = rng.sample(sorted(folder.iterdir()), 2)
    how = rng.choice(["missing", "extra", "renamed", "swapped", "folder", "link", "broken link"])
    if how == "missing":
        first.unlink()
    elif how == "extra":
        (folder / f"extra{rng.randrange(100)}").write_bytes(b"?")
    elif how == "renamed":
        first.rename(folder / f"{first.name}.old")
    elif how == "swapped":
        a, b = first.read_bytes(), second.read_bytes()
        first.write_bytes(b)
        second.write_bytes(a)
    else:
        first.unlink()
        if how == "folder":
            first.mkdir()
        else:
            first.symlink_to(second if how == "link" else "nowhere")
    return f"{first.name} {how}"


def forge_manifest(rng: random.Random, folder: Path) -> str:
    """An entry of the manifest changed, its digest made true again."""
    manifest: Any = json.loads((folder / "manifest.json").read_text("utf-8"))
    places = list(_places(manifest))
    container, key = rng.choice(places)
    junk = [None, -1, 0, 2**63, 1e308, "", "../x", "/etc/passwd", "x" * 5000, [], {}, True, "\0"]
    if rng.random() < 0.3 and isinstance(container, dict):
        del container[key]
    else:
        container[key] = rng.choice(junk)
    rewrite = json.dumps(manifest).encode()
    (folder / "manifest.json").write_bytes(rewrite)
    (folder / "manifest.sha256").write_text(hashlib.sha256(rewrite).hexdigest())
    return f"manifest.json at {key}"


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def forge_bytes(rng: random.Random, folder: Path) -> str:
    """A graph or the golden arrays with a few bytes changed, all checksums made true again."""
    name = rng.choice(["decode.onnx", "encode.onnx", "golden.npz"])
    data = bytearray((folder / name).read_bytes())
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    replace_file(folder, name, bytes(data))
    return name


def forge_graph(rng: random.Random, folder: Path) -> str:
    """A graph whose structure is changed at random, all checksums made true again."""
    name = rng.choice(["decode.onnx", "encode.onnx"])
    model = onnx.load_model_from_string((folder / name).read_bytes())
    graph = model.graph
    node, tensor = rng.choice(graph.node), rng.choice(graph.initializer)
    how = rng.choice(["op", "domain", "input", "drop", "double", "dims", "type", "axis", "opset"])
    if how == "op":
        node.op_type = rng.choice(["Loop", "If", "Scan", "RandomNormal", "Mine", "Conv", "Tile"])
    elif how == "domain":
        node.domain = rng.choice(["com.microsoft", "ai.onnx.ml", "x"])
    elif how == "input" and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(["", "nowhere", tensor.name])
    elif how == "drop":
        graph.node.remove(node)
    elif how == "double":
        graph.node.append(node)
    elif how == "dims" and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice([-1, 0, 1, 7, 1 << 20, 1 << 62])
    elif how == "type":
        tensor.data_type = rng.randrange(0, 24)
    elif how == "axis":
        value = rng.choice([*graph.input, *graph.output])
        dims = value.type.tensor_type.shape.dim
        dims[rng.randrange(len(dims))].dim_value = rng.choice([0, 1, 3, 1 << 40])
    else:
        model.opset_import[0].version = rng.choice([0, 1, 17, 25, 1 << 60])
    replace_file(folder, name, model.SerializeToString())
    return f"{name}: {how}"


ACCIDENTS: tuple[Mutation, ...] = (flip, truncate, lengthen, splice, rearrange)
FORGERIES: tuple[Mutation, ...] = (forge_manifest, forge_bytes, forge_graph)


def run(mutation: Mutation, seed: int, whole: Path, scratch: Path) -> Outcome:
    """Apply one mutation to a copy of `whole` and load it: ArtifactError, or a sound artifact.

    Raises whatever else the reading raises, and TimeoutError where it takes too long.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(whole, scratch)
    what = mutation(random.Random(f"{mutation.__name__} {seed}"), scratch)
    began = time.monotonic()
    try:
        found = read_artifact(scratch)
    except ArtifactError as error:
        if not error.file or not error.reason:
            raise AssertionError(f"{what}: no file or no reason in {error!r}") from error
        outcome = "refused"
    else:
        outcome = "equal" if found.manifest == read_artifact(whole).manifest else _loaded(scratch)
    if time.monotonic() - began > SECONDS:
        raise TimeoutError(f"{mutation.__name__} {seed} ({what}) took over {SECONDS} s")
    return Outcome(mutation.__name__, what, outcome)


def _loaded(folder: Path) -> str:
    try:
        load(folder, backend="onnxruntime", precision="fp32").close()
    except (ArtifactError, EngineError):
        return "not reproduced"
    return "loaded"


def main() -> None:
    """Run a campaign of so many mutations, and count the outcomes."""
    parser = argparse.ArgumentParser(prog="python -m tests.runtime.mutations", description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0, help="of the first (default 0)")
    chosen = parser.parse_args()
    kinds = (*ACCIDENTS, *FORGERIES)
    counted: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        whole = write_artifact(Path(folder), "vae")
        for i in range(chosen.seed, chosen.seed + chosen.count):
            found = run(kinds[i % len(kinds)], i, whole, Path(folder) / "mutant")
            if kinds[i % len(kinds)] in ACCIDENTS and found.outcome not in ("refused", "equal"):
                sys.exit(f"seed {i}: {found}")
            counted[found.kind, found.outcome] += 1
    for (kind, outcome), count in sorted(counted.items()):
        print(f"{kind:<16} {outcome:<10} {count:>8}")


if __name__ == "__main__":
    main()
