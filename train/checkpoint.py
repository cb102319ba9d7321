"""Checkpoints: a folder of `state.safetensors` and `state.json`, renamed into place when whole."""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from train.errors import RunError


@dataclass(frozen=True)
class Checkpoint:
    """Everything after `step` steps. All tensors on the CPU, named `group.rest`."""

    step: int
    tensors: dict[str, Tensor]
    record: dict[str, Any]
    """What JSON holds: seconds trained so far, metrics."""

    def group(self, name: str) -> dict[str, Tensor]:
        """The tensors of one group, without its prefix."""
        prefix = f"{name}."
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}


def save(folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write `folder/step-<step>` atomically and delete all but the newest `keep`.

    A step that is there already stays as it is: the same run gives the same tensors.

    Raises RunError where it cannot be written, as on a full disk; OSError where not even the folder
    can be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{checkpoint.step:08d}"
    if not target.exists():
        _write(target, checkpoint)
    for old in _all(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def _write(target: Path, checkpoint: Checkpoint) -> None:
    folder = target.parent
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as temporary:
        inside = Path(temporary) / "state"
        inside.mkdir()
        tensors = {
            k: v.detach().to("cpu", copy=True).contiguous() for k, v in checkpoint.tensors.items()
        }
        try:
            save_file(tensors, inside / "state.safetensors")
        except SafetensorError as error:  # its name for what is an OSError elsewhere
            raise RunError(f"{target}: expected to write a checkpoint, found: {error}") from error
        record = {"step": checkpoint.step} | checkpoint.record
        (inside / "state.json").write_text(json.dumps(record, indent=2, allow_nan=False) + "\n")
        # safetensors writes for the owner only; a run is as readable as any other file.
        mode = (inside / "state.json").stat().st_mode
        (inside / "state.safetensors").chmod(mode)
        for file in inside.iterdir():
            with file.open("rb") as written:
                os.fsync(written.fileno())
        inside.rename(target)


def load(folder: Path, step: int | None = None) -> Checkpoint:
    """Read the checkpoint of `step`, by default the newest.

    Raises RunError where there is none or it is damaged.
    """
    found = _all(folder)
    chosen = folder / f"step-{step:08d}" if step is not None else (found[-1] if found else None)
    if chosen is None or not chosen.is_dir():
        steps = ", ".join(p.name.removeprefix("step-") for p in found) or "none"
        raise RunError(f"{folder}: expected a checkpoint, found steps: {steps}")
    try:
        record = json.loads((chosen / "state.json").read_text())
        tensors = load_file(chosen / "state.safetensors")
        return Checkpoint(step=record.pop("step"), tensors=tensors, record=record)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise RunError(f"{chosen}: expected a complete checkpoint, found {error}") from error


def steps(folder: Path) -> list[int]:
    """The steps that have a checkpoint, oldest first."""
    return [int(path.name.removeprefix("step-")) for path in _all(folder)]


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-" + 8 * "[0-9]"))


def pack(name: str, module: nn.Module) -> dict[str, Tensor]:
    """A module's state as one group."""
    return {f"{name}.{key}": value for key, value in module.state_dict().items()}


def pack_optimizer(name: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's tensors as one group; its settings come from the recipe."""
    state = optimizer.state_dict()["state"]
    return {
        f"{name}.{i}.{key}": value for i, slots in state.items() for key, value in slots.items()
    }


def unpack_optimizer(tensors: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Undo `pack_optimizer` on an optimiser freshly made from the recipe."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, slot = key.split(".")
        weight = weights[int(index)]
        if value.shape == weight.shape:
            # In the weight's memory format, which a fused step takes for granted.
            value = torch.empty_like(weight).copy_(value)
        state.setdefault(int(index), {})[slot] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
