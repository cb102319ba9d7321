"""Buckets: the sizes that SDXL was trained at, within what a model accepts."""

import math
from collections.abc import Sequence

import pytest

import runtime
from runtime.artifact.manifest import Axis
from runtime.bulk.buckets import buckets, nearest
from runtime.errors import InputError

# https://arxiv.org/abs/2307.01952, appendix I, those of at most 2:1 and their transposes:
# heights and widths.
SDXL = {(704, 1408), (704, 1344), (768, 1344), (768, 1280), (832, 1216), (832, 1152), (896, 1152)}
SDXL |= {(896, 1088), (960, 1088), (960, 1024), (1024, 1024), (1024, 960), (1088, 960)}


def with_axes(model: runtime.Model, least: int, most: int, step: int) -> runtime.Manifest:
    axis = Axis(min=least, max=most, multiple_of=step, default=least)
    return model.manifest.model_copy(update={"axes": {"height": axis, "width": axis}})


def test_of_about_the_same_area_and_accepted(sized: runtime.Model) -> None:
    for base in (16, 24, 32):
        found = buckets(sized.manifest, base)
        assert (base, base) in found
        assert {(width, height) for height, width in found} == {*found}
        for height, width in found:
            assert sized.manifest.axes["height"].accepts(height)
            assert sized.manifest.axes["width"].accepts(width)
            assert 0.6 * base * base <= height * width <= base * base


def test_sizes_of_trainers(sized: runtime.Model) -> None:
    found = buckets(with_axes(sized, 64, 2048, 8), 1024)
    usual = [(832, 1216), (896, 1152), (768, 1344), (1024, 1024), (640, 1536)]
    assert {*usual, *((w, h) for h, w in usual)} <= {*found}
    assert all(height % 64 == width % 64 == 0 for height, width in found)
    coarse = buckets(with_axes(sized, 96, 960, 96), 512)
    assert coarse
    assert all(height % 96 == width % 96 == 0 for height, width in coarse)


def test_within_the_bounds_of_the_model(sized: runtime.Model) -> None:
    found = buckets(with_axes(sized, 448, 640, 64), 512)
    assert {*found} == {(448, 576), (512, 512), (576, 448), (640, 448), (448, 640)} - {
        (640, 448),
        (448, 640),
    }
    with pytest.raises(InputError, match="a base within the model's sizes: height from 448 to 640"):
        buckets(with_axes(sized, 448, 640, 64), 2048)


def test_a_model_of_one_size_has_none(vae: runtime.Model) -> None:
    with pytest.raises(InputError, match="free height and width"):
        buckets(vae.manifest, 8)


def test_a_picture_goes_where_least_is_cut_off(sized: runtime.Model) -> None:
    found = buckets(with_axes(sized, 64, 2048, 8), 512)
    assert nearest(found, (1000, 1000)) == (512, 512)
    assert nearest(found, (333, 4000)) == min(found, key=lambda size: size[0] / size[1])
    for picture in ((600, 800), (800, 600), (1080, 1920), (123, 457)):
        chosen = kept(picture, nearest(found, picture))
        assert chosen == pytest.approx(max(kept(picture, each) for each in found))


def kept(picture: Sequence[int], bucket: Sequence[int]) -> float:
    """The share of a picture that its bucket keeps."""
    return math.exp(-abs(math.log(picture[0] / picture[1]) - math.log(bucket[0] / bucket[1])))
