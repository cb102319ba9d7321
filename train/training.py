"""One run's state and its single step, the same for every model family.

Everything random in step k is a function of (seed, k): the batch, and the generator that is seeded
anew for latents, noise, dropout and augmentation, for each phase and each part of the batch. A run
stopped at any step and resumed therefore gives the weights of a run never stopped, without any
generator state in the checkpoint; and several processes give the weights of one, to rounding.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from runtime.images import to_uint8
from train.checkpoint import Checkpoint, pack, pack_optimizer, unpack_optimizer
from train.data import Splits
from train.ema import AveragedWeights
from train.errors import DataError, DivergedError
from train.objectives import AdamParams, Batch, Losses, Phase
from train.processes import ALONE, Processes
from train.recipes import Recipe
from train.schedule import one_cycle, order, seed_of
from train.shards import Buffers
from train.sheet import grid

_EVALUATION_BATCH = 500
_GPU_SHARE = 0.25
"""Of a GPU's free memory, so much may be filled by the training images."""
_INITIAL, _STEP, _SHEET, _EVALUATION = range(4)
"""Streams of random numbers that never disturb one another."""


class Training:
    """The state of one run: networks, averaged weights, optimisers, step.

    Raises DataError where the data's images or classes are not those of the recipe.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Splits,
        device: torch.device,
        processes: Processes = ALONE,
    ) -> None:
        _check(recipe, data)
        self.recipe = recipe
        self.processes = processes
        self.shards = processes.share(recipe.shards)
        self.device = device
        self.step = 0
        self.seconds = 0.0
        _seed(recipe.seed, _INITIAL)
        self.objective = recipe.objective.build()
        for network in self.objective.networks.values():
            network.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        decay = recipe.ema_decay
        self.average = AveragedWeights(self.objective.model, decay) if decay else None
        self.optimizers = {name: _optimizer(phase) for name, phase in self.objective.phases.items()}
        # uint8 [N, H, W, C], decoded once; on the device if they take little of it.
        self.images = _near(data.train.images, device)
        self.labels = torch.from_numpy(data.train.labels).to(device)

    @property
    def model(self) -> nn.ModuleDict:
        """What is kept of the run: averaged weights if the recipe says so, else the last ones."""
        return self.average.module if self.average is not None else self.objective.model

    def advance(self) -> dict[str, float]:
        """One step of every phase whose turn it is.

        Returns the losses, and the length of their gradient (L2), as `phase/name`.

        Raises DivergedError before any weight follows a NaN or infinite loss or gradient.
        """
        batches = self._batches()
        report = {}
        for index, (name, phase) in enumerate(self.objective.phases.items()):
            if (self.step + 1) % phase.every:
                continue
            if phase.schedule is not None:
                phase.schedule(self.step / self.recipe.steps)
            _train_only(phase.module, self.objective.networks)
            optimizer = self.optimizers[name]
            for group in optimizer.param_groups:
                group["lr"] = _learning_rate(phase.optimizer, self.step, self.recipe.steps)
            optimizer.zero_grad()
            for loss, value in self._descend(index, phase, batches).items():
                report[f"{name}/{loss}"] = number = value.item()
                if not math.isfinite(number):
                    raise DivergedError(self.step, f"{name}/{loss}", number)
            report[f"{name}/gradient"] = norm = nn.utils.get_total_norm(_gradients(phase)).item()
            if not math.isfinite(norm):  # a finite loss can have such a gradient, as sqrt at 0
                raise DivergedError(self.step, f"{name}/gradient", norm)
            optimizer.step()
            if phase.constrain is not None:
                phase.constrain()
        self.step += 1
        if self.average is not None:
            self.average.update(self.objective.model, self.step)
        return report

    def _batches(self) -> dict[int, Batch]:
        """This process's parts of the step's batch, by number."""
        size = self.recipe.batch_size
        rows = order(self.recipe.seed, len(self.images), self.step * size, size)
        parts = torch.from_numpy(rows).chunk(self.recipe.shards)
        batches = {}
        for shard in self.shards:
            images = self.images[parts[shard].to(self.images.device)].to(self.device)
            images = images.permute(0, 3, 1, 2).contiguous()
            labels = self.labels[parts[shard].to(self.device)]
            batches[shard] = self.prepare(images), labels
        return batches

    def _descend(self, index: int, phase: Phase, batches: dict[int, Batch]) -> Losses:
        """Leave the gradients of the whole batch in the phase's weights, and return its losses:
        means over its parts, in this process and the others."""
        count = self.recipe.shards
        buffers = Buffers(self.objective.networks.buffers() if count > 1 else ())
        total: Losses = {}
        for shard, (images, labels) in batches.items():
            buffers.rewind()
            _seed(self.recipe.seed, _STEP, self.step, index, shard)
            with self.autocast():
                losses = phase.losses(images, labels)
            (next(iter(losses.values())) / count).backward()
            for name, value in losses.items():
                part = value.detach().float() / count
                total[name] = total[name] + part if name in total else part
            buffers.note()
        buffers.settle(count, self.processes)
        self.processes.sum_([*total.values(), *_gradients(phase)])
        return total

    def prepare(self, images: Tensor) -> Tensor:
        """uint8 [B, C, H, W] -> float32 in the recipe's value range."""
        low, high = self.recipe.image.value_range
        return images.float().mul_((high - low) / 255).add_(low)

    def autocast(self) -> torch.autocast:
        enabled = self.recipe.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def checkpoint(self) -> Checkpoint:
        """Everything that `restore` needs.

        Raises DivergedError where a tensor is not finite, so that the last good checkpoint stays.
        """
        tensors = pack("networks", self.objective.networks) | pack("model", self.model)
        for name, optimizer in self.optimizers.items():
            tensors |= pack_optimizer(f"optimizer.{name}", optimizer)
        for name, tensor in tensors.items():
            if not tensor.isfinite().all():
                raise DivergedError(self.step, name, math.nan)
        return Checkpoint(self.step, tensors, {"seconds": round(self.seconds, 3)})

    def restore(self, saved: Checkpoint) -> None:
        self.objective.networks.load_state_dict(saved.group("networks"))
        if self.average is not None:
            self.average.module.load_state_dict(saved.group("model"))
        for name, optimizer in self.optimizers.items():
            unpack_optimizer(saved.group(f"optimizer.{name}"), optimizer)
        self.step, self.seconds = saved.step, saved.record["seconds"]

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of the sheet that `draw` fills."""
        network = self.recipe.objective.network
        return grid(network.height, network.classes)

    @torch.no_grad()
    def draw(self) -> NDArray[np.uint8]:
        """The sheet of fixed latents (labels in turn), uint8 [N, H, W, C]."""
        network = self.recipe.objective.network
        rows, columns = self.grid
        count = rows * columns
        _seed(self.recipe.seed, _SHEET)
        # Drawn on the CPU: the same sheet on every device.
        latents = self.objective.latents(count, torch.device("cpu")).to(self.device)
        inputs = [latents]
        if classes := network.classes:
            inputs.append(torch.arange(count, device=self.device) % classes)
        with _evaluating(self.model):
            images = self.model["decoder"](*inputs)
        return to_uint8(images.permute(0, 2, 3, 1).cpu().numpy(), self.recipe.image)

    @torch.no_grad()
    def evaluate(self, data: Splits) -> dict[str, float]:
        """The objective's figures on the whole held-out set, from a seed of its own."""
        if data.test is None:
            return {}
        test = data.test
        _seed(self.recipe.seed, _EVALUATION)

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            for start in range(0, len(test.images), _EVALUATION_BATCH):
                part = slice(start, start + _EVALUATION_BATCH)
                images = torch.from_numpy(test.images[part].transpose(0, 3, 1, 2).copy())
                labels = torch.from_numpy(test.labels[part])
                yield self.prepare(images.to(self.device)), labels.to(self.device)

        with _evaluating(self.model):
            return self.objective.evaluate(self.model, batches())


def _check(recipe: Recipe, data: Splits) -> None:
    shape, classes = data.train.images.shape[1:], recipe.objective.network.classes
    if shape != recipe.image.shape:
        raise DataError(
            f"{data.train.name}: expected images of {recipe.image.shape} (H, W, C) for "
            f"{recipe.name}, found {shape}"
        )
    if classes and classes != len(data.train.classes):
        raise DataError(
            f"{data.train.name}: expected {classes} classes for {recipe.name}, "
            f"found {len(data.train.classes)}: {', '.join(data.train.classes)}"
        )


def _near(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    if not images.flags.writeable:  # torch warns of sharing it
        images = images.copy()
    tensor = torch.from_numpy(images)
    if device.type == "cuda" and tensor.nbytes > _GPU_SHARE * torch.cuda.mem_get_info(device)[0]:
        return tensor
    return tensor.to(device)


def _seed(seed: int, stream: int, *where: int) -> None:
    torch.manual_seed(seed_of(seed, stream, *where))


def _gradients(phase: Phase) -> list[Tensor]:
    return [p.grad for p in phase.module.parameters() if p.grad is not None]


def _optimizer(phase: Phase) -> torch.optim.Optimizer:
    settings = phase.optimizer
    return torch.optim.AdamW(
        phase.module.parameters(),
        settings.learning_rate,
        settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,  # one pass over the weights: a step of a small network takes 15% less
    )


def _learning_rate(settings: AdamParams, step: int, steps: int) -> float:
    factor = one_cycle(step, steps) if settings.schedule == "one_cycle" else 1.0
    return settings.learning_rate * factor


def _train_only(module: nn.Module, networks: nn.Module) -> None:
    # Gradients only for the phase's own weights: the others would be computed and thrown away.
    networks.requires_grad_(False)
    module.requires_grad_(True)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)
