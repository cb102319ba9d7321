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
from train.errors import DataError, DivergedError, OptionError
from train.networks.network import noise_of
from train.networks.voxels import depth_of
from train.objectives import AdamParams, Batch, Losses, OfLatents, OfPictures, Phase
from train.processes import ALONE, Processes
from train.recipes import Recipe
from train.schedule import balanced_order, one_cycle, order, seed_of
from train.shards import Buffers
from train.sheet import grid, pictures

_EVALUATION_BATCH = 500
_GPU_SHARE = 0.25
"""Of a GPU's free memory, so much may be filled by the training images."""
_INITIAL, _STEP, _SHEET, _EVALUATION = range(4)
"""Streams of random numbers that never disturb one another."""


class Training:
    """The state of one run: networks, averaged weights, optimisers, step.

    Raises DataError where the data's images or classes are not those of the recipe, OptionError
    where its batches are too small for its networks.
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
        _check_parts(recipe, self.objective.networks)
        for network in self.objective.networks.values():
            _lay_out(network.to(device))
        decay = recipe.ema_decay
        self.average = AveragedWeights(self.objective.model, decay) if decay else None
        self.optimizers = {name: _optimizer(phase) for name, phase in self.objective.phases.items()}
        # uint8 [N, H, W, C], decoded once; on the device if they take little of it.
        self.images = _near(data.train.images, device)
        self.classes = data.train.labels
        self.labels = torch.from_numpy(self.classes).to(device)

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
            progress, (begins, ends) = self.step / self.recipe.steps, phase.span
            if (self.step + 1) % phase.every or not begins <= progress < ends:
                continue
            if phase.schedule is not None:
                phase.schedule(progress)
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
        if self.recipe.balanced:
            rows = balanced_order(self.recipe.seed, self.classes, self.step * size, size)
        else:
            rows = order(self.recipe.seed, len(self.images), self.step * size, size)
        parts = torch.from_numpy(rows).chunk(self.recipe.shards)
        batches = {}
        for shard in self.shards:
            labels = self.labels[parts[shard].to(self.device)]
            batches[shard] = self._pictures(parts[shard]), labels
        return batches

    def _pictures(self, rows: Tensor) -> Tensor:
        """Training images of these numbers, float [B, C, H, W]."""
        images = self.images[rows.to(self.images.device)].to(self.device)
        return self.prepare(images.permute(0, 3, 1, 2).contiguous())

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

    def draw(self) -> NDArray[np.uint8]:
        """The sheet of fixed latents (labels in turn), or of fixed training images, uint8
        [N, H, W, C]."""
        rows, columns = self.grid
        if isinstance(self.objective, OfPictures):
            images = self._shown(self.objective, rows, columns)
        else:
            images = self.samples(rows * columns)
        drawn = to_uint8(images.permute(0, 2, 3, 1).cpu().numpy(), self.recipe.image)
        return pictures(drawn, depth_of(self.recipe.objective.network))

    @torch.no_grad()
    def _shown(self, objective: OfPictures, rows: int, columns: int) -> Tensor:
        """A row for each of what the objective shows, as often as the sheet has room."""
        label = objective.shown_label
        fitting = np.ones_like(self.classes) if label is None else self.classes == label
        members = np.flatnonzero(fitting)
        chosen = members[order(self.recipe.seed, len(members), 0, rows * columns)]
        images = self._pictures(torch.from_numpy(chosen))
        _seed(self.recipe.seed, _SHEET)
        with evaluating(self.model):
            shown = torch.stack(objective.show(self.model, images))  # [shown, rows * columns, ...]
        kept = max(1, rows // len(shown))
        by_row = shown.unflatten(1, (rows, columns))[:, :kept].transpose(0, 1)
        return by_row.flatten(0, 2)

    @torch.no_grad()
    def samples(self, count: int) -> Tensor:
        """What the kept weights draw from fixed latents (labels in turn), [count, C, H, W].
        TypeError where the model needs pictures."""
        if not isinstance(self.objective, OfLatents):
            raise TypeError(f"{self.recipe.name}: expected a model of latents, found a translator")
        _seed(self.recipe.seed, _SHEET)
        # Drawn on the CPU: the same on every device.
        latents = self.objective.latents(count, torch.device("cpu")).to(self.device)
        inputs = [latents]
        if classes := self.recipe.objective.network.classes:
            inputs.append(torch.arange(count, device=self.device) % classes)
        sizes = noise_of(self.recipe.objective.network)
        inputs += [torch.randn(count, size).to(self.device) for size in sizes]
        with evaluating(self.model):
            return self.model["decoder"](*inputs)

    @torch.no_grad()
    def evaluate(self, data: Splits) -> dict[str, float]:
        """The objective's figures on the whole held-out set, from a seed of its own; their names
        say which split that is."""
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

        with evaluating(self.model):
            figures = self.objective.evaluate(self.model, batches())
        return {f"{data.held_out}_{name.removeprefix('test_')}": figures[name] for name in figures}


def _check(recipe: Recipe, data: Splits) -> None:
    shape, classes = data.train.images.shape[1:], recipe.classes
    if shape != recipe.image.shape:
        raise DataError(
            f"{data.train.name}: expected images of {recipe.image.shape} (H, W, C) for "
            f"{recipe.name}, found {shape}"
        )
    if recipe.validation and data.held_out != "validation":
        raise DataError(
            f"{data.train.name}: expected {recipe.validation} training images held out for "
            f"validation, as {recipe.name} asks for, found {data.held_out} images"
        )
    if classes and classes != len(data.train.classes):
        raise DataError(
            f"{data.train.name}: expected {classes} classes for {recipe.name}, "
            f"found {len(data.train.classes)}: {', '.join(data.train.classes)}"
        )


def _check_parts(recipe: Recipe, networks: nn.Module) -> None:
    normed = any(isinstance(module, nn.BatchNorm1d) for module in networks.modules())
    if normed and recipe.batch_size == recipe.shards:
        raise OptionError(
            f"batch_size and shards: expected at least 2 images in each part of a batch of "
            f"{recipe.name}, whose features have batch norm; found 1"
        )


def _near(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    if not images.flags.writeable:  # torch warns of sharing it
        images = images.copy()
    tensor = torch.from_numpy(images)
    if device.type == "cuda" and tensor.nbytes > _GPU_SHARE * torch.cuda.mem_get_info(device)[0]:
        return tensor
    return tensor.to(device)


def _lay_out(network: nn.Module) -> None:
    """Channels last, which is the faster order for convolutions of pictures."""
    if all(parameter.ndim < 5 for parameter in network.parameters()):
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


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
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode; after it, the mode of before."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)
