"""Export a folder that `python -m train` wrote."""

import argparse
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from export.api import export_imported
from export.arguments import add_measured
from export.options import ExportOptions, Imported
from runtime.artifact.manifest import Manifest, Provenance
from runtime.errors import ExportError

if TYPE_CHECKING:
    from train.runs import TrainedRun


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path)
    parser.add_argument("--step", type=int, help="checkpoint (default: the newest)")
    parser.add_argument("--name", help="of the artifact (default: the recipe's)")
    add_measured(parser)


def load(args: argparse.Namespace) -> Imported:
    fields = {"name": args.name, "out": args.out, "version": args.version}
    fields |= {"precisions": args.precisions, "neighbours": args.neighbours}
    return _imported(args.folder, args.step, args.figures, **fields)


def export_run(
    run: str | Path,
    *,
    step: int | None = None,
    figures: Mapping[str, float] | None = None,
    **options: Any,
) -> Path:
    """Export a folder that `python -m train` wrote, at its newest checkpoint or that of `step`.

    The artifact has the recipe's name unless `name` is given. `figures` are measurements to state
    beside the run's own: an artifact never changes, so what is measured on an export (by
    `python -m benchmarks quality`) is stated by exporting again. `options` are further fields of
    `ExportOptions`: `out`, `name`, `version`, `precisions`, `neighbours`.
    """
    return export_imported(_imported(run, step, figures, **options))


def _imported(
    run: str | Path,
    step: int | None,
    figures: Mapping[str, float] | None,
    *,
    name: str | None = None,
    **options: Any,
) -> Imported:
    trained = _load_run(Path(run), step)
    fields = ExportOptions(
        name=name or trained.name,
        kind=trained.kind,
        encode_takes_noise=trained.encoder_takes_noise,
        latent=trained.latent,
        image=trained.image,
        labels=trained.labels,
        any_range=True,  # the recipe says which it is
        provenance=_provenance(trained.provenance, figures or {}),
        licence=trained.data_licence,
        **options,
    )
    modules = {"decode": trained.decoder}
    if trained.encoder is not None:
        modules["encode"] = trained.encoder
    return Imported(fields, modules)


def training_images(manifest: Manifest, data: Path) -> NDArray[np.uint8]:
    """The training images [n, H, W, C] of a run's artifact, from the data set's folder; binary if
    it was trained on binary images. Raises ExportError if the artifact is not of a run, or if its
    images are missing or differ."""
    _find_train()
    from pydantic import ValidationError

    from train.data import load
    from train.data.binarised import binarised
    from train.errors import TrainError
    from train.objectives import ELBO
    from train.recipes import RECIPE_JSON

    try:
        recipe = RECIPE_JSON.validate_python(manifest.provenance.details.get("params"))
        labels = bool(recipe.objective.network.classes)
        images = load(recipe.source, data, recipe.image, labels=labels).train
    except (ValidationError, TrainError) as error:
        raise ExportError(f"{manifest.name}: --data: {error}") from error
    expected = manifest.provenance.details.get("data_checksum")
    if images.checksum != expected:
        raise ExportError(
            f"{manifest.name}: --data: expected the images of its run, {expected}, "
            f"found {images.checksum}"
        )
    drawn = isinstance(recipe.objective, ELBO) and recipe.objective.binarise
    return (binarised(images) if drawn else images).images


def _provenance(record: dict[str, Any], measured: Mapping[str, float]) -> Provenance:
    details = dict(record)
    metrics: dict[str, Any] = details.pop("metrics", {})
    versions = {"torch (training)": details.pop("torch")} if "torch" in details else {}
    recipe = details.pop("recipe", "unknown")
    figures = {key: float(v) for key, v in metrics.items() if isinstance(v, int | float)}
    return Provenance(
        source=f"python -m train {recipe}",
        details=details,
        versions=versions,
        figures={**figures, **measured},
    )


def _load_run(folder: Path, step: int | None) -> "TrainedRun":
    _find_train()
    from train.errors import TrainError
    from train.runs import load_run

    try:
        return load_run(folder, step)
    except TrainError as error:
        raise ExportError(str(error)) from error


def _find_train() -> None:
    # Found, not imported: a user's own train.py in the current folder must not run.
    found = importlib.util.find_spec("train")
    if found is None or not found.submodule_search_locations:
        where = "no such package" if found is None else str(found.origin)
        raise ExportError(
            f"run: expected latentserve's package `train`, found {where}: start in another folder, "
            "or rename the file"
        )
