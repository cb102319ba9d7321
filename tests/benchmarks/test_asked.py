"""The judges of prompts and of volumes: what they say of pictures that are known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.quality import prompts, volumes
from train.captions import shapes
from train.data.captioned import draw
from train.data.furniture import furniture, load_furniture


def test_the_reader_learns_to_tell_pictures_that_it_has_not_seen() -> None:
    few = shapes().attributes[[0, 40, 95, 139, 179]]
    reader = prompts.trained_reader(few, each=40, epochs=25)
    asked = np.repeat(few, 20, axis=0)
    images = draw(asked, 9)
    assert (reader.read(images) == asked).all(axis=1).mean() > 0.9


def test_a_reader_is_the_same_each_time() -> None:
    few = shapes().attributes[[0, 95]]
    one, other = (prompts.trained_reader(few, each=20, epochs=2).state_dict() for _ in range(2))
    assert all(one[name].equal(other[name]) for name in one)


class _Known(prompts.Reader):
    """Reads attributes that are known before."""

    def __init__(self, found: NDArray[np.int64]) -> None:
        super().__init__(width=1)
        self.found = found

    def read(self, images: NDArray[np.uint8]) -> NDArray[np.int64]:
        return self.found


def test_what_was_seen_and_what_was_not_are_counted_apart() -> None:
    captions = shapes()
    unseen, seen = np.flatnonzero(~captions.seen)[:4], np.flatnonzero(captions.seen)[:10]
    asked = np.concatenate([seen, unseen])
    found = captions.attributes[asked]
    images = np.zeros((len(asked), 32, 32, 1), np.uint8)
    assert prompts.measure(_Known(found), captions, images, asked) == {
        "as_prompted": 1.0,
        "as_prompted_unseen": 1.0,
    }
    found = found.copy()
    found[0, 0] ^= 1  # one of ten seen ones, one of four others
    found[-1, 1] ^= 1
    figures = prompts.measure(_Known(found), captions, images, asked)
    assert figures == {"as_prompted": 0.9, "as_prompted_unseen": 0.75}


def test_volumes_rebuilt_and_covered_perfectly_are_told_so() -> None:
    test = load_furniture().test
    assert test is not None
    real = test.images >= 128
    other = furniture(test.labels, 7).reshape(test.images.shape) >= 128
    figures = volumes.measure(test, real, real, other)
    assert (figures["iou"], figures["iou_least"], figures["coverage"]) == (1, 1, 1)
    assert 0.4 < figures["coverage_real"] < 0.8
    assert figures["coverage_ratio"] == pytest.approx(1 / figures["coverage_real"])
    nothing = volumes.measure(test, np.zeros_like(real), other, other)
    assert (nothing["iou"], nothing["iou_least"], nothing["coverage_ratio"]) == (0, 0, 1)
