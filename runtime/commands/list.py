"""List the artifacts of a folder, and what each of them is."""

import argparse
from pathlib import Path
from textwrap import shorten

from tqdm import tqdm

from runtime.artifact.manifest import Manifest
from runtime.artifact.reading import artifact_folders, artifacts_root, find_artifact, read_artifact
from runtime.commands._output import licence_line
from runtime.errors import ArtifactError, InputError
from runtime.requests import answered
from runtime.terminal import SERVE, conclude, in_words

_LICENCE = 24
"""Characters of it that are shown: the rest is in the model card."""
_HEADS = ("ARTIFACT", "KIND", "IMAGE", "LATENT", "LABELS", "ANSWERS", "LICENCE")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        type=Path,
        nargs="?",
        help="default: $LATENTSERVE_ARTIFACTS, or artifacts in the current folder",
    )


def run(args: argparse.Namespace) -> None:
    root = args.folder or artifacts_root()
    folders = artifact_folders(root)
    if not folders:
        found = f"none in {root}" if root.is_dir() else f"no folder {root}"
        raise InputError("folder", "a folder with artifacts, <name>/<version>/ each", found)
    rows: list[tuple[str, ...]] = []
    damaged: list[str] = []
    for folder in tqdm(folders, unit="artifact", disable=None, leave=False):
        version = find_artifact(folder)
        try:
            rows.append(_row(read_artifact(version).manifest))
        except ArtifactError as error:
            damaged.append(f"{folder.name}@{version.name} is damaged: {error}")
    widths = [max(map(len, column)) for column in zip(_HEADS, *rows, strict=True)]
    for row in (_HEADS, *rows) if rows else ():
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    for line in damaged:
        print(line)
    broken = f", {len(damaged)} damaged" if damaged else ""
    conclude(f"{root}: {in_words(len(folders), 'artifact')}{broken}", *SERVE, root)


def _row(manifest: Manifest) -> tuple[str, ...]:
    latent = manifest.latent
    return (
        manifest.full_name,
        manifest.kind,
        _product(manifest.image().shape),
        "-" if latent is None else _product(latent.shape),
        _asked_for(manifest),
        ",".join(answered(manifest)),
        shorten(licence_line(manifest), _LICENCE, placeholder=" ..."),
    )


def _asked_for(manifest: Manifest) -> str:
    """What a request may ask for: by one of so many labels, or by a prompt."""
    if manifest.vocabulary is not None:
        return "prompt"
    return str(len(manifest.labels)) if manifest.labels else "-"


def _product(shape: tuple[object, ...]) -> str:
    """4x8x8; an axis by its name where it is free."""
    return "x".join(str(length).replace(" ", "") for length in shape)
