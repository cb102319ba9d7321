"""A translator's pictures against the true ones, and against answers that need no network.

Measured on what is served: test pictures are made into the task of its recipe (grey, edges, small,
with a hole, of the other kind) and go through `runtime`. Of each pair L1, PSNR and SSIM
(`train.metrics`); of the sets the Fréchet distance in the features of the frozen classifier, to as
many training pictures as there are test pictures. Only the first say whether the picture is right,
only the last whether it looks like one.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import runtime
from benchmarks.errors import UnfitError
from benchmarks.quality.classifier import load_data, load_or_train
from benchmarks.quality.distances import set_distances
from benchmarks.quality.judge import Classifier, subject
from benchmarks.quality.pairs import Case, cases
from benchmarks.quality.served import Images, parser, served
from benchmarks.quality.verdicts import Figures
from benchmarks.report import table, write_json
from benchmarks.results import record
from runtime.images import contact_sheet, to_picture
from train import metrics

logger = logging.getLogger(__name__)

SHOWN = 16
"""Columns of the sheet."""

_OF_SETS = ("frechet", "coverage")


def measure(
    model: runtime.Model, asked: Sequence[Case], classifier: Classifier
) -> tuple[Figures, Images]:
    """The figures of all cases, and a sheet: a row each of what is given, made, wanted, and of the
    simple answers."""
    figures: Figures = {"n": len(asked[0].given)}
    rows: list[Images] = []
    for case in asked:
        logger.info("translating %d pictures", len(case.given))
        made = model.translate(case.given, mask=case.mask)
        figures |= _judged(case, {"": made, **case.simple}, classifier)
        shown = [case.given, made, *([] if case.wanted is None else [case.wanted])]
        rows += [_alike(images[:SHOWN], made) for images in (*shown, *case.simple.values())]
    return figures, contact_sheet(np.concatenate(rows), columns=min(SHOWN, len(asked[0].given)))


def _judged(case: Case, answers: Mapping[str, Images], classifier: Classifier) -> Figures:
    """Figures of several answers, by the answer's name behind the case's. The first one's comes
    first: by how many dB it is better than a simple one is `psnr_over`."""
    _, real = classifier(case.real)
    # As good as it can get: the true pictures, or where nobody knows them the real ones.
    best = real if case.wanted is None else classifier(case.wanted)[1]
    found: Figures = {}
    for name, made in answers.items():
        probabilities, features = classifier(made)
        sets = set_distances(features, real, best)
        own = {figure: sets[figure] for figure in _OF_SETS}
        if case.asked is not None:
            right = probabilities.argmax(axis=1) == classifier.classes.index(case.asked)
            own["of_class"] = float(right.mean())
        if case.wanted is not None:
            own |= compare(case, made, case.wanted)
            if name:
                own["psnr_over"] = found[f"psnr{case.name}"] - own["psnr"]
            found |= {f"{figure}{case.name}_real": sets[f"{figure}_real"] for figure in _OF_SETS}
        suffix = case.name + (f"_{name}" if name else "")
        found |= {figure + suffix: value for figure, value in own.items()}
    return found


def compare(case: Case, made: Images, wanted: Images) -> Figures:
    """Figures of pairs. `l1_hole`: of the pixels under the mask; `right`: the share of pictures
    nearer to what was wanted than to what was given, where that is a picture like it."""
    found = {
        "l1": metrics.mean_absolute(made, wanted),
        "psnr": metrics.psnr(made, wanted),
        "ssim": metrics.ssim(made, wanted),
    }
    if case.mask is not None:
        hole = np.broadcast_to(case.mask > 0, made.shape)
        found["l1_hole"] = metrics.mean_absolute(made[hole], wanted[hole])
    elif case.given.shape == made.shape:
        to_wanted, to_given = (
            np.abs(made.astype(np.int64) - other).mean(axis=(1, 2, 3))
            for other in (wanted, case.given)
        )
        found["right"] = float((to_wanted < to_given).mean())
    return found


def _alike(images: Images, made: Images) -> Images:
    """Of the size and channels of what is made."""
    times = made.shape[1] // images.shape[1]
    larger = images.repeat(times, axis=1).repeat(times, axis=2)
    return np.broadcast_to(larger, (*larger.shape[:3], made.shape[3]))


def recipe_of(model: runtime.Model) -> Mapping[str, Any]:
    """The recipe of a translator of ours, as JSON. ValueError for any other artifact."""
    recipe: Any = model.manifest.provenance.details.get("params")
    if "translate" not in model.manifest.graphs or not isinstance(recipe, Mapping):
        raise UnfitError(
            f"{model.manifest.name}: expected a translator that `python -m train` made, found "
            f"{model.manifest.kind} with {', '.join(model.manifest.graphs)}"
        )
    return recipe


def is_back(model: runtime.Model) -> bool:
    """Whether a translator of ours is the way back of a CycleGAN, from the second kind of pictures
    to the first. ValueError for a CycleGAN's export that does not say which it is."""
    manifest = model.manifest
    if recipe_of(model)["objective"]["kind"] != "cycle":
        return False
    direction = manifest.provenance.details.get("direction")
    if direction not in ("there", "back"):
        raise UnfitError(
            f"{manifest.name}: provenance.details.direction: expected there or back, found "
            f"{direction!r}: export the run again, or measure the run itself"
        )
    return direction == "back"


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks translation ARTIFACT_OR_RUN --data PATH`"""
    options = parser("translation", __doc__, data="CIFAR-10", n=10_000)
    options.add_argument("--back", action="store_true", help="of a CycleGAN's run: the way back")
    options.add_argument("--out", type=Path, help="write the sheet there, PNG")
    chosen = options.parse_args(arguments)
    with served(chosen.subject, back=chosen.back) as model:
        recipe, back = recipe_of(model), is_back(model)
        if chosen.back and not back:
            options.error(f"--back: expected a CycleGAN's run, found {model.manifest.full_name}")
        classifier = load_or_train("cifar10", chosen.data)
        train, test = load_data("cifar10", chosen.data)
        asked = cases(recipe, train, test, n=chosen.n, seed=chosen.seed, back=back)
        figures, sheet = measure(model, asked, classifier)
        checksums = {"train": train.checksum, "test": test.checksum}
        measured = subject(model, [classifier], **checksums)
    print(table((measured["artifact"], ""), list(figures.items())))
    if chosen.out is not None:
        to_picture(sheet.repeat(2, axis=0).repeat(2, axis=1)).save(chosen.out)
    write_json(chosen.json, "translation", figures, measured)
    record.write(chosen.record, chosen.subject, figures)
