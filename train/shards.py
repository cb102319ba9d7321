"""A batch in equal parts, whose gradients are averaged: on one device after another, or at once.

A part has random numbers and batch statistics of its own, so a step is a function of the number of
parts and not of who computed them.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from train.processes import Processes


class Buffers:
    """What networks remember of batches (batch statistics, singular vectors), while the parts of
    one batch pass: each starts from the same values, and the mean of their changes remains."""

    @torch.no_grad()
    def __init__(self, buffers: Iterable[Tensor]) -> None:
        self.buffers = list(buffers)
        self.before = [buffer.clone() for buffer in self.buffers]
        self.moved = [
            torch.zeros_like(buffer) for buffer in self.buffers if buffer.is_floating_point()
        ]

    @torch.no_grad()
    def rewind(self) -> None:
        """Before each part."""
        for buffer, before in zip(self.buffers, self.before, strict=True):
            buffer.copy_(before)

    @torch.no_grad()
    def note(self) -> None:
        """After each part."""
        for moved, (buffer, before) in zip(self.moved, self._floating(), strict=True):
            moved += buffer - before

    @torch.no_grad()
    def settle(self, shards: int, processes: Processes) -> None:
        """After this process's last part. Counters, which are not floats, agree in all parts."""
        processes.sum_(self.moved)
        for moved, (buffer, before) in zip(self.moved, self._floating(), strict=True):
            buffer.copy_(before + moved / shards)

    def _floating(self) -> list[tuple[Tensor, Tensor]]:
        pairs = zip(self.buffers, self.before, strict=True)
        return [(buffer, before) for buffer, before in pairs if buffer.is_floating_point()]
