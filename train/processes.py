"""The processes that share one run, a device each: started by torchrun, or this one alone.

Each holds the whole model and takes its share of every batch; sums over them are all they exchange
(`torch.distributed`: NCCL between GPUs, gloo between CPUs). No DistributedDataParallel: under a
gradient penalty, a gradient of a gradient, its hooks average what is not yet complete.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module

import torch
from torch import Tensor
from torch import distributed as dist

from train.errors import RunError


@dataclass(frozen=True)
class Processes:
    """The rank of this process and the number of processes. Only the first writes the run's
    folder."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, shards: int) -> range:
        """The numbers of this process's parts of a batch of `shards` parts.

        Raises RunError where processes cannot have as many parts each.
        """
        if shards % self.count:
            raise RunError(
                f"shards: expected a multiple of the {self.count} processes, found {shards}"
            )
        each = shards // self.count
        return range(self.rank * each, (self.rank + 1) * each)

    def device(self, name: str) -> str:
        """The device that `--device` means for this process: with `cuda`, one GPU per process.

        Raises RunError for one GPU of several processes.
        """
        if self.count == 1 or name == "cpu":
            return name
        if name not in ("auto", "cuda"):
            raise RunError(f"--device: expected cuda or cpu for several processes, found {name!r}")
        if name == "auto" and not torch.cuda.is_available():
            return "cpu"
        return f"cuda:{os.environ['LOCAL_RANK']}"

    @torch.no_grad()
    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Each tensor becomes its sum over all processes, in one message."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, summed in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(summed.view_as(tensor))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process: all must stop at the same step, or some would
        wait forever."""
        raised = torch.tensor([float(flag)])
        self.sum_([raised])
        return raised.item() > 0


ALONE = Processes()


@contextmanager
def joined(meet: str = "env://") -> Iterator[Processes]:
    """The processes that torchrun has started, or this one alone without torchrun. `meet` is the
    `init_method` of `init_process_group`.
    """
    if not dist.is_torchelastic_launched():
        yield ALONE
        return
    # Optimizers import it. Were that after the group's beginning, it would keep the group for ever,
    # and with it gloo's threads: now and then one of them aborted the process at its end.
    import_module("torch._dynamo")
    backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backends, meet)
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
