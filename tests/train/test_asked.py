"""Captions and the pictures of them, furniture, and their estimators against known answers."""

import numpy as np
import pytest
import torch

from runtime.artifact.vocabulary import Vocabulary
from train import metrics
from train.captions import ATTRIBUTES, shapes
from train.data import captioned, furniture
from train.networks.prompted import PromptedVAEParams, PromptReader
from train.networks.voxels import VoxelVAEParams
from train.sheet import pictures


def test_a_caption_says_its_attributes_in_words() -> None:
    captions = shapes()
    assert len(captions.texts) == len(set(captions.texts)) == 2 * 2 * 9 * 5
    number = captions.texts.index("a large bright square at the top left, turned")
    said = [
        values[i]
        for values, i in zip(ATTRIBUTES.values(), captions.attributes[number], strict=True)
    ]
    assert said == ["large", "bright", "square", "top", "left", "turned"]
    assert "a small dark circle in the centre" in captions.texts
    assert not any("circle" in text and "turned" in text for text in captions.texts)


def test_the_tokens_are_those_that_the_runtime_reads() -> None:
    captions = shapes()
    words = Vocabulary(
        words=captions.words, length=captions.tokens.shape[1], examples=captions.examples
    )
    read = [words.tokens(text) for text in captions.texts]
    np.testing.assert_array_equal(read, captions.tokens)


def test_what_is_held_out_is_not_trained_on_but_each_of_its_words_is() -> None:
    captions, splits = shapes(), captioned.load_captioned()
    assert splits.test is not None
    trained, held_out = set(splits.train.labels.tolist()), set(splits.test.labels.tolist())
    assert not trained & held_out
    assert trained | held_out == set(range(len(captions.texts)))
    assert len(held_out) == 18
    seen = captions.attributes[captions.seen]
    assert all(
        set(seen[:, place].tolist()) == set(range(len(values)))
        for place, values in enumerate(ATTRIBUTES.values())
    )


def test_pictures_are_as_their_captions_say() -> None:
    captions = shapes()
    images = captioned.draw(captions.attributes, 5).astype(float)
    np.testing.assert_array_equal(images, captioned.draw(captions.attributes, 5))
    size, shade, _, row, column, _ = captions.attributes.T
    mass = images.sum(axis=(1, 2, 3))
    down, right = np.mgrid[:32, :32] + 0.5
    y = (images[..., 0] * down).sum(axis=(1, 2)) / mass
    x = (images[..., 0] * right).sum(axis=(1, 2)) / mass
    np.testing.assert_array_equal(np.digitize(y, [12.5, 19.5]), row)
    np.testing.assert_array_equal(np.digitize(x, [12.5, 19.5]), column)
    brightest = images.max(axis=(1, 2, 3))
    np.testing.assert_array_equal(brightest > 170, shade == 1)
    area = (images > brightest[:, None, None, None] / 2).sum(axis=(1, 2, 3))
    np.testing.assert_array_equal(area > 90, size == 1)


def test_a_prompt_is_read_as_its_words_whatever_fills_it_up() -> None:
    reader = PromptReader(words=5, features=8)
    one, longer = torch.tensor([[2, 3, 0]]), torch.tensor([[3, 2, 0, 0, 0]])
    assert torch.allclose(reader(one), reader(longer))
    assert not torch.allclose(reader(one), reader(torch.tensor([[2, 4, 0]])))


def test_a_caption_and_its_tokens_give_the_same_picture() -> None:
    captions = shapes()
    params = PromptedVAEParams(
        latent=3, height=32, width=32, widths=(2,), decoder_widths=(2,), hidden=8, classes=180
    )
    _, decoder = params.build()
    latents, labels = torch.randn(4, 3), torch.tensor([0, 7, 90, 179])
    by_words = decoder.draw(latents, torch.from_numpy(captions.tokens)[labels])
    assert torch.equal(decoder(latents, labels), by_words)
    with pytest.raises(ValueError, match="classes: expected 180 captions, found 3"):
        PromptedVAEParams(classes=3)


def test_furniture_is_a_function_of_seed_number_and_kind() -> None:
    labels = np.arange(10) % 5
    made = furniture.furniture(labels, 3)
    np.testing.assert_array_equal(made, furniture.furniture(labels, 3))
    changed = furniture.furniture(np.where(labels == 1, 0, labels), 3)
    np.testing.assert_array_equal(made[labels != 1], changed[labels != 1])
    assert set(np.unique(made).tolist()) == {0, 255}
    # All stand on the floor, within the grid, and no two are alike.
    assert made[:, 0].any(axis=(1, 2, 3)).all()
    assert len(np.unique(made.reshape(10, -1), axis=0)) == 10
    assert 200 < (made[made.shape[0] // 2] > 0).sum() < 16_000


def test_no_test_volume_is_trained_on() -> None:
    splits = furniture.load_furniture()
    assert splits.test is not None
    trained = {volume.tobytes() for volume in splits.train.images}
    tested = {volume.tobytes() for volume in splits.test.images}
    assert len(tested) == len(splits.test.images) == furniture.TEST
    assert not trained & tested
    assert np.bincount(splits.test.labels).tolist() == [100] * 5


def test_a_volume_goes_through_the_networks_as_its_layers() -> None:
    params = VoxelVAEParams(
        latent=3, side=8, widths=(2,), decoder_widths=(2, 2), hidden=4, classes=2
    )
    assert (params.height, params.width, params.channels) == (64, 8, 1)
    encoder, decoder = params.build()
    mean, log_variance = encoder(torch.rand(5, 1, 64, 8))
    assert mean.shape == log_variance.shape == (5, 3)
    labels = torch.tensor([0, 1, 0, 1, 1])
    flat, whole = decoder(mean, labels), decoder.volumes(mean, labels)
    assert torch.equal(flat.reshape(5, 1, 8, 8, 8), whole)
    with pytest.raises(ValueError, match="labels: expected int64"):
        decoder(mean)
    with pytest.raises(ValueError, match="side: expected a multiple of 8, found 12"):
        VoxelVAEParams(side=12)
    images = np.zeros((2, 64, 8, 1), np.uint8)
    assert pictures(images, 1) is images
    assert pictures(images, 8).shape[0] == 2


def test_one_wrong_attribute_makes_a_picture_wrong() -> None:
    asked = np.array([[0, 1], [2, 3], [4, 5], [6, 7]])
    found = asked.copy()
    assert metrics.share_right(found, asked) == 1
    found[2, 0] = 9
    assert metrics.share_right(found, asked) == 0.75
    with pytest.raises(ValueError, match="expected two"):
        metrics.share_right(found[:2], asked)


def test_overlaps_of_boxes_are_counted() -> None:
    a = np.zeros((3, 4, 4, 4), bool)
    b = a.copy()
    a[0, :2], b[0, 1:3] = True, True  # a third of both together
    a[1, 0] = b[1, 0] = True
    np.testing.assert_allclose(metrics.intersection_over_union(a, b), [1 / 3, 1, 1])
    with pytest.raises(ValueError, match="the shape of a"):
        metrics.intersection_over_union(a, b[:2])
    with pytest.raises(ValueError, match="expected booleans"):
        metrics.intersection_over_union(a.astype(np.uint8), b)


def test_what_is_drawn_once_and_again_covers_one_volume() -> None:
    real = np.eye(8, dtype=bool)  # eight volumes of one voxel each, no two alike
    assert metrics.nearest_overlaps(real, real) == (1.0, 1.0)
    assert metrics.nearest_overlaps(real[[2] * 8], real) == (1 / 8, 1 / 8)
    half = real | real[[1, 0, 3, 2, 5, 4, 7, 6]]  # pairs of neighbours
    coverage, nearest = metrics.nearest_overlaps(half, real)
    assert coverage == 0.5
    assert nearest == pytest.approx(0.5)
