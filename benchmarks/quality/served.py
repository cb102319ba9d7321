"""Models for measurements: an artifact, or a run's export, sampled through `runtime` as served."""

import argparse
import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import runtime
from benchmarks.errors import UnfitError
from benchmarks.quality.classifier import RECIPES

logger = logging.getLogger(__name__)

Images = NDArray[np.uint8]
"""[n, H, W, C]"""


def parser(
    name: str,
    description: str | None,
    *,
    subject: str = "an artifact's folder, a name under artifacts/, or a run",
    data: str | None = None,
    n: int | None = None,
) -> argparse.ArgumentParser:
    """The options that measurements of what is served share. `data` says which data set they read:
    these have --json as well; `n`: how many images they make unless --n says otherwise."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks {name}", description=description)
    made.add_argument("subject", help=subject)
    if data is not None:
        made.add_argument("--data", type=Path, required=True, help=f"folder of {data}")
        made.add_argument("--json", type=Path, help="write the figures there")
    if n is not None:
        made.add_argument("--n", type=int, default=n, help="images of a set (%(default)s)")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--record", metavar="NAME", help="keep the figures for docs/results.md")
    return made


@contextmanager
def served(subject: str, *, back: bool = False) -> Iterator[runtime.Model]:
    """The model of an artifact (a folder, or a name under artifacts/) or of a training run, which
    is exported into a temporary folder first, in fp32; `back`: of a CycleGAN, the way back."""
    is_run = (Path(subject) / "run.json").is_file()
    with tempfile.TemporaryDirectory() if is_run else nullcontext() as folder:
        artifact: str | Path = subject
        if folder is not None:
            from export import export_run  # imports torch, which an artifact needs not

            # Variants would take longer to compare with fp32 than most figures take.
            artifact = export_run(subject, out=folder, precisions=(), back=back)
        with runtime.load(artifact) as model:
            yield model


def sample(
    model: runtime.Model,
    n: int,
    seed: int,
    *,
    offset: int = 0,
    label: str | Sequence[str] | None = None,
    truncation: float | None = None,
) -> Images:
    """n images of `seed`, streamed; `label` is that of all, or has one for each."""
    batches = model.stream(n, seed=seed, offset=offset, labels=label, truncation=truncation)
    return collected(batches, n, "sampling")


def collected(batches: Iterable[Images], n: int, doing: str) -> Images:
    """Batches as one array; where they take long, a bar says how far they are."""
    parts: list[Images] = []
    with tqdm(total=n, desc=doing, unit="image", mininterval=5, delay=5) as bar:
        for batch in batches:
            parts.append(batch)
            bar.update(len(batch))
    return np.concatenate(parts)


def by_label(model: runtime.Model, n: int, seed: int) -> dict[str, Images]:
    """n samples of each label, no truncation."""
    names = model.manifest.labels
    if names is None:
        raise UnfitError(f"{model.manifest.name}: expected a model that takes labels")
    # Other latents for each class, or all classes would share the same n draws.
    return {
        name: sample(model, n, seed, offset=index * n, label=name)
        for index, name in enumerate(names)
    }


def data_set_of(model: runtime.Model) -> str:
    """The data set whose classifier fits the model's images; the log warns where the model was
    trained on another one."""
    shape = model.manifest.image().shape
    for name, recipe in RECIPES.items():
        if recipe.shape == shape:
            data = str(model.manifest.provenance.details.get("data", name))
            if not data.startswith(name):
                logger.warning(
                    "%s was trained on %s and is judged as if on %s, whose pictures have its shape",
                    model.manifest.name, data, name,
                )  # fmt: skip
            return name
    known = {name: recipe.shape for name, recipe in RECIPES.items()}
    raise UnfitError(
        f"{model.manifest.name}: expected images of a known data set ({known}), found {shape}"
    )


def trained_on(model: runtime.Model, classes: Sequence[str]) -> str | None:
    """The one class the model's data set is named for: "frog" in "cifar10-frogs"; None where it
    takes labels, or knows them all."""
    manifest = model.manifest
    if manifest.labels is not None:
        return None
    data = str(manifest.provenance.details.get("data", manifest.name))
    words = {word.removesuffix("s") for word in data.split("-")}
    return next((c for c in classes if c in words), None)
