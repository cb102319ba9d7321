"""Finished (or unfinished) runs as a module, its shapes and where it comes from: what export reads.

A run folder holds `run.json` (recipe, data set, machine, figures), `checkpoints/`, `metrics.jsonl`,
`samples/` and `tensorboard/`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from torch import nn

from runtime.images import ImageSpec
from train import checkpoint
from train.errors import RunError
from train.networks.dcgan import UniformLatents
from train.networks.iaf import FlowEncoder
from train.objectives import Adversarial
from train.recipes import RECIPE_JSON, Recipe


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """One run's model in eval mode on the CPU, averaged where the recipe averages weights."""

    name: str
    """Artifact name: the recipe's, with dashes."""
    kind: Literal["vae", "gan"]
    decoder: nn.Module
    """latents [B, *latent] from N(0, I) (and labels int64 [B] where `labels` is given) -> images
    [B, C, H, W] in `image.value_range`."""
    encoder: nn.Module | None
    """images [B, C, H, W] in `image.value_range` -> (mean, log_variance), each [B, *latent]; None
    where the model has none."""
    encoder_takes_noise: bool
    """A flow: images and noise [B, *latent] -> latents [B, *latent], log q(z|x) [B]."""
    latent: tuple[int, ...]
    image: ImageSpec
    labels: tuple[str, ...] | None
    """Class names by label, None for an unconditional model."""
    provenance: dict[str, Any]
    data_licence: str
    recipe: Recipe
    model: nn.ModuleDict
    """The networks as the recipe's objective takes them."""


def load_run(folder: Path | str, step: int | None = None) -> TrainedRun:
    """Read a run folder at its newest checkpoint, or at the checkpoint of `step`.

    Raises RunError where the folder is not a run or is damaged.
    """
    folder = Path(folder)
    file = folder / "run.json"
    try:
        record = json.loads(file.read_text())
        recipe = RECIPE_JSON.validate_python(record["recipe"])
        classes, licence = tuple(record["classes"]), record["licence"]
        provenance = dict(record["provenance"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise RunError(f"{file}: expected a training run's record, found {error}") from error
    settings = recipe.objective
    saved = checkpoint.load(folder / "checkpoints", step)
    model = settings.build().model
    try:
        model.load_state_dict(saved.group("model"))
    except RuntimeError as error:
        raise RunError(f"{folder}: expected the weights of {recipe.name}, found {error}") from error
    model.requires_grad_(False).eval()
    if saved.step != provenance["steps"]:
        # An early or chosen checkpoint: the run's figures were measured on other weights.
        provenance |= {"steps": saved.step, "seconds": saved.record["seconds"], "metrics": {}}
    encoder = dict(model.items()).get("encoder")
    uniform = isinstance(settings, Adversarial) and settings.prior == "uniform"
    return TrainedRun(
        name=recipe.name.replace("_", "-"),
        kind=settings.kind,
        decoder=UniformLatents(model["decoder"]).eval() if uniform else model["decoder"],
        encoder=encoder,
        encoder_takes_noise=isinstance(encoder, FlowEncoder),
        latent=(settings.network.latent,),
        image=recipe.image,
        labels=classes if settings.network.classes else None,
        provenance={"recipe": record["recipe"]["name"], "params": record["recipe"]} | provenance,
        data_licence=licence,
        recipe=recipe,
        model=model,
    )
