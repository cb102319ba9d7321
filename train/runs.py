"""Finished (or unfinished) runs as a module, its shapes and where it comes from: what export reads.

A run folder holds `run.json` (recipe, data set, machine, figures), `checkpoints/`, `metrics.jsonl`,
`samples/` and `tensorboard/`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from torch import nn

from runtime.images import ImageSpec
from train import captions, checkpoint
from train.errors import RunError
from train.networks.dcgan import UniformLatents
from train.networks.iaf import FlowEncoder
from train.networks.network import noise_of
from train.networks.prompted import ByPrompt, PromptedDecoder
from train.networks.voxels import Volumes, VoxelDecoder, depth_of
from train.objectives import Adversarial, Cycle, Translation
from train.recipes import RECIPE_JSON, Recipe
from train.tasks import TASKS


@dataclass(frozen=True, eq=False, kw_only=True)
class Trained:
    """One run's model in eval mode on the CPU, averaged where the recipe averages weights."""

    name: str
    """Artifact name: the recipe's, with dashes."""
    image: ImageSpec
    """What it is trained on."""
    provenance: dict[str, Any]
    data_licence: str
    recipe: Recipe
    model: nn.ModuleDict
    """The networks as the recipe's objective takes them."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainedRun(Trained):
    """A run whose model samples."""

    kind: Literal["vae", "gan", "hybrid", "autoregressive"]
    decoder: nn.Module
    """latents [B, *latent] from N(0, I) (and labels int64 [B] where `labels` is given, and noise
    [B, n] for each n of `noise`) -> images [B, C, H, W] in `image.value_range`."""
    encoder: nn.Module | None
    """images [B, C, H, W] in `image.value_range` -> (mean, log_variance), each [B, *latent]; None
    where the model has none, and where the decoder takes noise beside its latents: these alone
    do not give an image back."""
    encoder_takes_noise: bool
    """A flow: images and noise [B, *latent] -> latents [B, *latent], log q(z|x) [B]."""
    latent: tuple[int, ...]
    noise: tuple[int, ...]
    labels: tuple[str, ...] | None
    """Class names by label, None for an unconditional model."""
    captions: captions.Captions | None
    """Those of a decoder that takes the tokens int64 [B, length] of a prompt beside the latents."""
    depth: int | None
    """The layers of volumes [B, 1, depth, H, W], which the decoder then gives; `image` is one
    layer."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainedTranslator(Trained):
    """A run whose model makes pictures of pictures."""

    translators: Mapping[str, nn.Module]
    """Images [B, C, H, W] in [-1, 1] of `given` (and a mask [B, 1, H, W] where `takes_mask`) ->
    images; "translator", and of a CycleGAN "back"."""
    given: ImageSpec
    takes_mask: bool
    sheet: Path
    """The run's own PNG of that step, where it has one: noise, which other sheets are drawn of,
    shows nothing here."""


def load_run(folder: Path | str, step: int | None = None) -> TrainedRun:
    """Read a run folder at its newest checkpoint, or at the checkpoint of `step`.

    Raises RunError where the folder is not a run or is damaged, and where its model does not
    sample.
    """
    found = load_any(folder, step)
    if not isinstance(found, TrainedRun):
        raise RunError(f"{folder}: expected a run whose model samples, found one of {found.name}")
    return found


def load_any(folder: Path | str, step: int | None = None) -> TrainedRun | TrainedTranslator:
    """The same of a run of any recipe."""
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
    common: dict[str, Any] = {
        "name": recipe.name.replace("_", "-"),
        "image": recipe.image,
        "provenance": {"recipe": record["recipe"]["name"], "params": record["recipe"]} | provenance,
        "data_licence": licence,
        "recipe": recipe,
        "model": model,
    }
    if isinstance(settings, Translation | Cycle):
        return _translator(settings, common, folder / "samples" / f"{saved.step:08d}.png")
    noise = noise_of(settings.network)
    encoder = None if noise else dict(model.items()).get("encoder")
    uniform = isinstance(settings, Adversarial) and settings.prior == "uniform"
    decoder, layers = model["decoder"], depth_of(settings.network)
    prompted = isinstance(decoder, PromptedDecoder)
    common["image"] = _layer(recipe.image, layers)
    return TrainedRun(
        kind=settings.kind,
        decoder=UniformLatents(decoder).eval() if uniform else _served(decoder).eval(),
        encoder=encoder,
        encoder_takes_noise=isinstance(encoder, FlowEncoder),
        latent=(settings.network.latent,),
        noise=noise,
        labels=classes if settings.network.classes and not prompted else None,
        captions=captions.shapes() if prompted else None,
        depth=layers if layers > 1 else None,
        **common,
    )


def _layer(image: ImageSpec, layers: int) -> ImageSpec:
    return image.model_copy(update={"height": image.height // layers})


def _translator(
    settings: Translation | Cycle, common: dict[str, Any], sheet: Path
) -> TrainedTranslator:
    task = TASKS[settings.task if isinstance(settings, Translation) else "repaint"]
    image: ImageSpec = common["image"]
    given = ImageSpec(
        height=image.height // task.scale,
        width=image.width // task.scale,
        channels=task.channels(image.channels),
        value_range=image.value_range,
    )
    return TrainedTranslator(
        translators=dict(common["model"].items()),
        given=given,
        takes_mask=task.masked,
        sheet=sheet,
        **common,
    )


def _served(decoder: nn.Module) -> nn.Module:
    """A decoder as an artifact has it."""
    if isinstance(decoder, PromptedDecoder):
        return ByPrompt(decoder)
    return Volumes(decoder) if isinstance(decoder, VoxelDecoder) else decoder
