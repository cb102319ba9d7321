"""Loading is total: 2,400 seeded mutations, each refused with a reason or harmless."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runtime.mutations import ACCIDENTS, FORGERIES, Mutation, run
from tests.tiny import write_artifact

COUNT = 300
by_name: Callable[[Mutation], str] = lambda mutation: mutation.__name__  # noqa: E731


@pytest.mark.parametrize("mutation", ACCIDENTS, ids=by_name)
def test_accidents(mutation: Mutation, tmp_path: Path) -> None:
    whole = write_artifact(tmp_path / "whole", "vae")
    outcomes = Counter(
        run(mutation, seed, whole, tmp_path / "mutant").outcome for seed in range(COUNT)
    )
    # A splice may put the same bytes there, which is no damage.
    assert set(outcomes) <= {"refused", "equal"}
    assert outcomes["refused"] > 0.9 * COUNT


@pytest.mark.parametrize("mutation", FORGERIES, ids=by_name)
def test_forgeries(mutation: Mutation, tmp_path: Path) -> None:
    """True checksums: most are refused all the same, and none does worse than load."""
    whole = write_artifact(tmp_path / "whole", "vae")
    outcomes = Counter(
        run(mutation, seed, whole, tmp_path / "mutant").outcome for seed in range(COUNT)
    )
    assert outcomes["refused"] > 0.2 * COUNT, outcomes
