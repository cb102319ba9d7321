"""Layers that see more than one image: virtual batch norm, the deviation of a batch."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from train.networks.dcgan import DCGANParams, Generator
from train.networks.layers import MinibatchDeviation, VirtualBatchNorm2d


def test_virtual_batch_norm_counts_the_image_into_the_reference_batch() -> None:
    layer = VirtualBatchNorm2d(channels=2, reference=3)
    features = torch.randn(5, 2, 4, 4) + 1
    found = layer(features)
    for row in (0, 4):
        # An image as one more of the reference batch, which is normed by itself alone.
        members = features[:3] if row < 3 else torch.cat([features[:3], features[row : row + 1]])
        together = members.transpose(0, 1).flatten(1)
        mean, variance = together.mean(1), together.var(1, unbiased=False)
        plain = (features[row] - mean[:, None, None]) / (variance + 1e-5).sqrt()[:, None, None]
        assert_close(found[row], layer.gain * plain + layer.bias, rtol=1e-4, atol=1e-5)


def test_virtual_batch_norm_in_bf16_keeps_small_variances() -> None:
    layer = VirtualBatchNorm2d(channels=2, reference=3)
    features = (torch.randn(5, 2, 8, 8) + 100).bfloat16()
    found = layer(features)
    assert found.dtype == torch.bfloat16
    assert_close(found.float(), layer(features.float()), rtol=0.01, atol=0.01)


def test_virtual_batch_norm_keeps_its_reference_for_later() -> None:
    layer = VirtualBatchNorm2d(channels=2, reference=3)
    features = torch.randn(5, 2, 4, 4)
    trained = layer(features)[3:]
    assert_close(layer.eval()(features[3:]), trained)


@pytest.mark.parametrize("training", [True, False])
def test_images_of_a_generator_with_virtual_batch_norm_do_not_depend_on_each_other(
    training: bool,
) -> None:
    batch = DCGANParams(latent=4, height=8, width=8, stages=2, generator_width=2)
    virtual = replace(batch, generator_norm="virtual")
    latents = torch.randn(6, 4)
    for params, independent in ((virtual, True), (batch, not training)):
        torch.manual_seed(0)
        generator = Generator(params).train(training)
        whole, part = generator(latents), generator(latents[:2])
        assert whole.shape == (6, 3, 8, 8)
        assert torch.allclose(whole[:2], part, atol=1e-5) == independent


def test_minibatch_deviation_is_a_channel_of_the_mean_deviation() -> None:
    features = torch.zeros(2, 1, 1, 2)
    features[1, 0, 0, 0] = 6.0  # deviations over the batch: 3 and 0
    found = MinibatchDeviation()(features)
    assert found.shape == (2, 2, 1, 2)
    assert_close(found[:, :1], features)
    assert_close(found[:, 1], torch.full((2, 1, 2), 1.5), rtol=0, atol=1e-4)


def test_a_batch_of_one_picture_has_no_deviation_and_a_finite_gradient() -> None:
    features = torch.ones(4, 3, 2, 2, requires_grad=True)
    deviation = MinibatchDeviation()(features)[:, 3]
    assert deviation.max().item() == pytest.approx(0, abs=1e-3)
    (gradient,) = torch.autograd.grad(deviation.sum(), features)
    assert gradient.isfinite().all()
