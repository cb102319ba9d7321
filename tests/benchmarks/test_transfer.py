"""Train on generated, test on real: labelled samples, and an accuracy that counts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import runtime
from benchmarks.quality import transfer
from tests import tiny


def test_samples_are_labelled_as_asked_and_differ_between_labels(tmp_path: Path) -> None:
    with runtime.load(tiny.write_artifact(tmp_path, "conditional")) as model:
        data = transfer.labelled(model, 12, seed=3)
        assert data.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
        expected = model.sample(4, seed=3, offset=4, labels="one")
        np.testing.assert_array_equal(data.images[4:8], expected)
    with (
        runtime.load(tiny.write_artifact(tmp_path, "plain")) as model,
        pytest.raises(ValueError, match="expected a model that takes labels"),
    ):
        transfer.labelled(model, 12, seed=3)


class Brightness(nn.Module):
    """Tells class 1 from the first pixel alone."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        first = images[:, 0, 0, 0]
        return torch.stack([-first, first], dim=1), images


def test_accuracy_counts_over_all_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "BATCH", 3)
    images = np.zeros((7, 2, 2, 1), np.uint8)
    images[[1, 4, 6], 0, 0] = 200
    labels = np.array([0, 1, 0, 1, 1, 0, 0])
    network = Brightness()
    found = transfer.accuracy(network, images, labels)  # pyright: ignore[reportArgumentType]
    assert found == pytest.approx(5 / 7)
