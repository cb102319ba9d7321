"""Export a folder that `python -m train` wrote."""

import argparse
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from export.api import export_imported
from export.arguments import add_measured
from export.options import ExportOptions
from export.sources import Imported
from runtime.artifact.manifest import Manifest, Provenance
from runtime.artifact.vocabulary import Vocabulary
from runtime.errors import ExportError

if TYPE_CHECKING:
    from train.runs import TrainedRun, TrainedTranslator


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path)
    parser.add_argument("--step", type=int, help="checkpoint (default: the newest)")
    parser.add_argument("--name", help="of the artifact (default: the recipe's)")
    parser.add_argument("--back", action="store_true", help="of a CycleGAN: the way back")
    parser.add_argument("--licence", help="of what it was trained on (default: the data set's)")
    add_measured(parser)


def load(args: argparse.Namespace) -> Imported:
    fields = {"name": args.name, "out": args.out, "version": args.version}
    fields |= {"precisions": args.precisions, "neighbours": args.neighbours}
    fields |= {} if args.licence is None else {"licence": args.licence}
    return _imported(args.folder, args.step, args.figures, back=args.back, **fields)


def export_run(
    run: str | Path,
    *,
    step: int | None = None,
    figures: Mapping[str, float] | None = None,
    back: bool = False,
    **options: Any,
) -> Path:
    """Export a folder that `python -m train` wrote, at its newest checkpoint or that of `step`.

    The artifact has the recipe's name unless `name` is given. `figures` are measurements to state
    beside the run's own: an artifact never changes, so what is measured on an export (by
    `python -m benchmarks quality`) is stated by exporting again. `back`: of a CycleGAN, the
    translator from the second kind of pictures to the first. `options` are further fields of
    `ExportOptions`: `out`, `name`, `version`, `precisions`, `neighbours`, `licence`.
    """
    return export_imported(_imported(run, step, figures, back=back, **options))


def _imported(
    run: str | Path,
    step: int | None,
    figures: Mapping[str, float] | None,
    *,
    back: bool = False,
    name: str | None = None,
    **options: Any,
) -> Imported:
    trained = _load_run(Path(run), step)
    common: dict[str, Any] = {
        "any_range": True,  # the recipe says which it is
        "provenance": _provenance(trained.provenance, figures or {}),
        "licence": trained.data_licence,
        **options,
    }
    if hasattr(trained, "translators"):
        return _imported_translator(cast("TrainedTranslator", trained), back, name, common)
    trained = cast("TrainedRun", trained)
    if back:
        raise ExportError(f"{run}: --back: expected a CycleGAN, found {trained.name}")
    if trained.kind == "autoregressive":
        raise ExportError(
            f"{trained.name}: expected a model that makes an image in one pass of its network, "
            f"found an autoregressive one, which takes one for each of {trained.latent[0]} pixels: "
            "it is not served; `python -m benchmarks likelihood` judges the run itself"
        )
    fields = ExportOptions(
        name=name or trained.name,
        kind=trained.kind,
        encode_takes_noise=trained.encoder_takes_noise,
        latent=trained.latent,
        noise=[(size,) for size in trained.noise],
        image=trained.image,
        labels=trained.labels,
        vocabulary=_vocabulary(trained),
        depth=trained.depth,
        **common,
    )
    modules = {"decode": trained.decoder}
    if trained.encoder is not None and trained.depth is None:  # encoders of volumes are not served
        modules["encode"] = trained.encoder
    return Imported(fields, modules)


def _vocabulary(trained: "TrainedRun") -> Vocabulary | None:
    """The prompts that a run's decoder reads: words by their tokens, and captions it was trained
    on."""
    known = trained.captions
    if known is None:
        return None
    return Vocabulary(words=known.words, length=known.tokens.shape[1], examples=known.examples)


def _imported_translator(
    trained: "TrainedTranslator", back: bool, name: str | None, common: Mapping[str, Any]
) -> Imported:
    way = "back" if back else "translator"
    if way not in trained.translators:
        raise ExportError(f"{trained.name}: --back: expected a CycleGAN, found one way alone")
    sheet = trained.sheet.read_bytes() if trained.sheet.is_file() and not back else None
    if len(trained.translators) > 1:  # or nothing but a name, which is free, would tell which it is
        origin: Provenance = common["provenance"]
        details = {**origin.details, "direction": "back" if back else "there"}
        common = {**common, "provenance": origin.model_copy(update={"details": details})}
    fields = ExportOptions(
        name=name or trained.name + "-back" * back,
        kind="translator",
        image=trained.given,
        takes_mask=trained.takes_mask,
        prior="none",
        **{"sheet": sheet, **common},
    )
    return Imported(fields, {"translate": trained.translators[way]})


def training_images(manifest: Manifest, data: Path | None) -> NDArray[np.uint8]:
    """The training images [n, H, W, C] of a run's artifact, from the data set's folder, or made in
    code where the run's were; binary if it was trained on binary images. Raises ExportError if the
    artifact is not of a run, or if its images are missing or differ."""
    _find_train()
    from pydantic import ValidationError

    from train.data import expect_files, load
    from train.data.binarised import binarised
    from train.errors import TrainError
    from train.objectives import ELBO
    from train.recipes import RECIPE_JSON

    try:
        recipe = RECIPE_JSON.validate_python(manifest.provenance.details.get("params"))
        labels = bool(recipe.objective.network.classes)
        expect_files(recipe.source, data)
        images = load(
            recipe.source, data, recipe.image, labels=labels, validation=recipe.validation
        ).train
    except ValidationError as error:
        raise ExportError(
            f"{manifest.name}: --data: expected an artifact of one of this version's runs, found "
            f"{manifest.provenance.source}: name its training images (--images)"
        ) from error
    except TrainError as error:
        raise ExportError(f"{manifest.name}: {error}") from error
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


def _load_run(folder: Path, step: int | None) -> "TrainedRun | TrainedTranslator":
    _find_train()
    from train.errors import TrainError
    from train.runs import load_any

    try:
        return load_any(folder, step)
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
