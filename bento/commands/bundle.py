"""`latentserve bundle`: the service and a folder of artifacts, packed by `bentoml build`.

BentoML packs what lies below one folder alone, and the artifacts may be anywhere: so a copy of what
belongs together is packed. What goes into it is said by `[tool.bentoml.build]` in pyproject.toml.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bento.commands.serve import PACKAGES, add_artifacts, artifacts_folder
from bento.settings import PREFIX, variable
from runtime.artifact.reading import artifact_folders
from runtime.terminal import conclude, ended, in_words

_PACKED = ("bento", "runtime")
_BESIDE = ("pyproject.toml", "README.md")
_UNWANTED = ("*.pem", ".*")
"""Beside artifacts: a Bento is given to others, and whoever signs may have a key there."""


def main(
    arguments: Sequence[str] | None = None, prog: str = "python -m bento.commands.bundle"
) -> int:
    """Build the Bento; returns the exit status (2, with one line, where nothing can be packed)."""
    return ended(lambda: _run(arguments, prog))


def _run(arguments: Sequence[str] | None, prog: str) -> int:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    add_artifacts(parser)
    args = parser.parse_args(arguments)
    try:
        folder = artifacts_folder(args.artifacts)
        count = len(artifact_folders(folder))
        if not count:
            raise ValueError(f"--artifacts: expected <name>/<version>/ in it, found none: {folder}")
        with tempfile.TemporaryDirectory(prefix="latentserve-bundle-") as scratch:
            _gather(folder, Path(scratch))
            tag = _build(Path(scratch), folder)
    except (OSError, ValueError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    print(tag)
    packed = f"the service and {in_words(count, 'artifact')} of {folder}"
    conclude(f"{tag}: {packed}", "bentoml", "serve", tag)
    return 0


def _gather(artifacts: Path, target: Path) -> None:
    """Copy what is packed, as it lies in a checkout."""
    for name in _BESIDE:
        if not (PACKAGES / name).is_file():
            raise ValueError(f"expected a checkout of latentserve, found no {PACKAGES / name}")
        shutil.copy(PACKAGES / name, target / name)
    for name in _PACKED:
        unneeded = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PACKAGES / name, target / name, ignore=unneeded)
    shutil.copytree(artifacts, target / "artifacts", ignore=shutil.ignore_patterns(*_UNWANTED))


def _build(source: Path, artifacts: Path) -> str:
    """The new Bento's tag."""
    command = [sys.executable, "-P", "-m", "bentoml", "build", "--output", "tag"]
    # The service is imported to be packed: it looks whether its folder is there. All other settings
    # are those of wherever it will serve, and may not be possible here.
    inherited = {name: v for name, v in os.environ.items() if not name.startswith(PREFIX)}
    environment = {"BENTOML_DO_NOT_TRACK": "True", variable("artifacts"): str(artifacts)}
    done = subprocess.run(  # noqa: S603 - our own command
        command,
        cwd=source,
        env={**inherited, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise ValueError(f"bentoml build ended with status {done.returncode}")
    return done.stdout.strip().rpartition("__tag__:")[2]


if __name__ == "__main__":
    sys.exit(main())
