"""Terms: what is added to a loss, each with its weight."""

from collections.abc import Iterable

from torch import Tensor

from train.objectives.objective import Losses

Term = tuple[str, float, Tensor]
"""Name, weight and value of what is added to a loss."""


def with_terms(loss: Tensor, terms: Iterable[Term]) -> Losses:
    """The whole loss, and each term by its name without its weight."""
    parts = {}
    for name, weight, value in terms:
        loss = loss + weight * value
        parts[name] = value
    return {"loss": loss} | parts
