"""Networks: shapes, ranges, switches and refusals."""

from collections.abc import Iterable
from typing import cast

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrize import is_parametrized
from torch.testing import assert_close

from train.networks.dcgan import DCGANParams, Discriminator, Generator
from train.networks.iaf import AutoregressiveNetwork, FlowEncoder, IAFParams
from train.networks.layered import LayeredParams, Moments
from train.networks.layers import ConditionalBatchNorm2d
from train.networks.resnet import (
    PoolingConv2d,
    ResNetDiscriminator,
    ResNetGenerator,
    ResNetParams,
    UpsamplingConv2d,
)
from train.networks.vae import Decoder, Encoder, ResidualBlock, VAEParams
from train.objectives import ELBO, AdamParams


@pytest.mark.parametrize(
    "params",
    [
        DCGANParams(generator_width=2, discriminator_width=2),
        DCGANParams(generator_width=2, discriminator_width=2, height=16, width=24, stages=2),
        DCGANParams(generator_width=2, discriminator_width=2, kernel=3),
        DCGANParams(generator_width=2, discriminator_width=2, kernel=5, channels=1),
        DCGANParams(discriminator_width=2, height=28, width=20, stages=2),
        DCGANParams(discriminator_width=2, height=28, width=20, stages=2, kernel=3),
        DCGANParams(discriminator_width=2, height=28, width=20, stages=2, strided=False),
        DCGANParams(generator_width=2, discriminator_width=2, strided=False),
        DCGANParams(discriminator_width=2, discriminator_norm="spectral", dropout=0.5),
        DCGANParams(discriminator_width=2, discriminator_norm="batch", strided=False),
    ],
)
def test_dcgan_shapes(params: DCGANParams) -> None:
    images = Generator(params)(torch.randn(3, params.latent))
    assert images.shape == (3, params.channels, params.height, params.width)
    assert Discriminator(params)(images).shape == (3,)


@pytest.mark.parametrize(
    "ways",
    [
        {},
        {"generator_labels": "concatenate"},
        {"discriminator_labels": "concatenate"},
    ],
)
def test_dcgan_by_label(ways: dict) -> None:
    params = DCGANParams(generator_width=8, discriminator_width=2, classes=4, **ways)
    generator, discriminator = Generator(params).eval(), Discriminator(params).eval()
    latents, labels = torch.randn(1, 128).repeat(4, 1), torch.arange(4)
    images = generator(latents, labels)
    assert len(images.unique(dim=0)) == 4
    # Large pixels: fresh weights are small, and four logits could else round to the same float.
    assert len(discriminator(1000 * images[:1].repeat(4, 1, 1, 1), labels).unique()) == 4
    with pytest.raises(ValueError, match="labels: expected int64"):
        generator(latents)
    with pytest.raises(ValueError, match="labels: expected int64"):
        discriminator(images)


def test_an_auxiliary_classifier_scores_without_the_label() -> None:
    network = Discriminator(
        DCGANParams(discriminator_width=2, classes=4, discriminator_labels="classify")
    )
    images = torch.randn(2, 3, 32, 32)
    scores, features = network.judge(images, torch.tensor([0, 1]))
    assert torch.equal(scores, network(images, torch.tensor([3, 2])))
    assert network.classify is not None
    assert network.classify(features).shape == (2, 4)


@pytest.mark.parametrize("size", [(1, 1), (4, 6)])
def test_conditional_batch_norm_is_batch_norm_with_the_label_s_gain_and_bias(
    size: tuple[int, int],
) -> None:
    layer = ConditionalBatchNorm2d(3, 5, size)
    plain = nn.BatchNorm2d(3, affine=False)
    features, labels = torch.randn(8, 3, 4, 6), torch.tensor([0, 1, 2, 3, 4, 0, 1, 2])
    found, expected = layer(features, labels), plain(features)
    for row, label in enumerate(labels):
        gain = layer.gain.weight[label].reshape(3, *size)
        bias = layer.bias.weight[label].reshape(3, *size)
        assert_close(found[row], gain * expected[row] + bias)


def test_tanh_bounds_the_images_and_linear_does_not() -> None:
    for tanh in (True, False):
        generator = Generator(DCGANParams(generator_width=2, tanh=tanh))
        with torch.no_grad():
            for parameter in generator.parameters():
                parameter.mul_(50)
        assert (generator(torch.randn(4, 128)).abs().max() <= 1) == tanh


def test_the_discriminator_s_heuristics_are_switches() -> None:
    def kinds(**switches) -> set[type]:
        network = Discriminator(DCGANParams(discriminator_width=2, **switches))
        return {type(module) for module in network.modules()}

    assert nn.LeakyReLU in kinds()
    assert nn.MaxPool2d not in kinds()
    assert {nn.MaxPool2d, nn.ReLU} <= kinds(strided=False)
    assert nn.LeakyReLU not in kinds(strided=False)


def test_batch_norm_follows_every_convolution_but_the_first() -> None:
    network = Discriminator(DCGANParams(discriminator_width=2, discriminator_norm="batch"))
    kinds = [type(layer) for layer in network.layers]
    assert kinds[:2] == [nn.Conv2d, nn.LeakyReLU]
    assert kinds[2:5] == kinds[5:8] == [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU]


def test_spectral_norm_bounds_every_weight() -> None:
    torch.manual_seed(0)
    network = Discriminator(
        DCGANParams(discriminator_width=4, discriminator_norm="spectral", classes=2)
    )
    for _ in range(60):  # each pass in train mode is one step of the power iteration
        network(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))
    network.eval()
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.Embedding)]
    assert len(layers) == 5
    for layer in layers:
        norm = torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item()
        # The power iteration approaches 1 from above; 2% after 60 steps on random weights.
        assert norm == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    "params",
    [
        ResNetParams(generator_width=2, discriminator_width=2),
        ResNetParams(generator_width=2, discriminator_width=2, height=16, width=24, channels=1),
        ResNetParams(
            generator_width=2,
            discriminator_width=2,
            growth=1,
            discriminator_stages=2,
            discriminator_flat=2,
            generator_spectral=True,
        ),
    ],
)
def test_resnet_shapes(params: ResNetParams) -> None:
    generator, discriminator = params.build()
    images = generator(torch.randn(3, params.latent))
    assert images.shape == (3, params.channels, params.height, params.width)
    assert images.abs().max() <= 1
    assert discriminator(images).shape == (3,)


def test_resnet_by_label() -> None:
    params = ResNetParams(
        classes=4, generator_width=4, discriminator_width=4, stages=2, discriminator_stages=2
    )
    generator, discriminator = (network.eval() for network in params.build())
    latents, labels = torch.randn(1, 128).repeat(4, 1), torch.arange(4)
    images = generator(latents, labels)
    assert len(images.unique(dim=0)) == 4
    assert len(discriminator(images[:1].repeat(4, 1, 1, 1), labels).unique()) == 4
    with pytest.raises(ValueError, match="labels: expected int64"):
        generator(latents)
    with pytest.raises(ValueError, match="labels: expected int64"):
        discriminator(images)


def test_resampling_is_folded_into_the_kernel() -> None:
    """Float rounding apart, the same function as two steps, at the borders too."""
    images = torch.randn(2, 3, 8, 6)
    up = UpsamplingConv2d(3, 5, 3, padding=1)
    doubled = images.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    expected = functional.conv2d(doubled, up.weight, up.bias, padding=1)
    assert_close(up(images), expected)
    assert_close(up.eval()(images), expected)
    down = PoolingConv2d(3, 5, 3, padding=1)
    whole = functional.conv2d(images, down.weight, down.bias, padding=1)
    assert_close(down(images), functional.avg_pool2d(whole, 2))


def test_residual_networks_begin_orthogonal() -> None:
    generator, _ = ResNetParams(generator_width=4, discriminator_width=4).build()
    rows = generator.get_parameter("blocks.0.conv.weight").flatten(1)
    assert_close(rows @ rows.T, torch.eye(len(rows)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("spectral", [False, True])
def test_residual_networks_are_normed_by_their_singular_values(spectral: bool) -> None:
    params = ResNetParams(
        classes=3, generator_width=4, discriminator_width=4, generator_spectral=spectral
    )
    generator, discriminator = params.build()

    def unnormed(network: ResNetGenerator | ResNetDiscriminator) -> int:
        kinds = nn.Conv2d | nn.Linear
        layers = [m for m in network.modules() if isinstance(m, kinds)]
        return sum(not is_parametrized(layer, "weight") for layer in layers)

    assert unnormed(discriminator) == 0
    assert discriminator.project is not None
    assert is_parametrized(discriminator.project)
    # The first layer, three blocks of three, the last.
    assert unnormed(generator) == (0 if spectral else 11)


@pytest.mark.parametrize(
    "params",
    [
        VAEParams(widths=(2, 3), decoder_widths=(3, 2), hidden=8),
        VAEParams(widths=(2,), decoder_widths=(2, 2), hidden=8, depth=1, latent=20),
        VAEParams(height=16, width=8, channels=3, widths=(2,), decoder_widths=(2,), hidden=8),
        VAEParams(height=5, width=8, channels=3, widths=(), decoder_widths=(), hidden=8),
        VAEParams(widths=(2,), decoder_widths=(), hidden=8, norm=True),
        VAEParams(widths=(2, 3), decoder_widths=(3, 2), hidden=8, blocks=2),
    ],
)
def test_vae_shapes(params: VAEParams) -> None:
    images = torch.rand(5, params.channels, params.height, params.width)
    mean, log_variance = Encoder(params)(images)
    assert mean.shape == log_variance.shape == (5, params.latent)
    assert Decoder(params)(mean).shape == images.shape


def test_the_decoder_s_images_are_the_means_of_its_logits() -> None:
    latents = torch.randn(5, 2)
    decoder = Decoder(VAEParams(hidden=8))
    assert torch.equal(decoder(latents), decoder.logits(latents).sigmoid())
    linear = Decoder(VAEParams(hidden=8, sigmoid=False))
    assert torch.equal(linear(latents), linear.logits(latents))


def test_sizes_that_do_not_halve_are_refused() -> None:
    with pytest.raises(ValueError, match=r"multiples of 2\*\*stages = 8, found 28 x 28"):
        DCGANParams(height=28, width=28)
    with pytest.raises(ValueError, match=r"multiples of 8 .* found 28 x 28"):
        VAEParams(widths=(2, 2, 2))
    with pytest.raises(ValueError, match="kernel: expected at least 2, found 1"):
        DCGANParams(kernel=1)
    with pytest.raises(ValueError, match=r"multiples of 2\*\*stages = 8, found 28 x 28"):
        ResNetParams(height=28, width=28)


def test_residual_blocks_begin_as_the_identity_and_see_their_neighbours() -> None:
    block, features = ResidualBlock(3), torch.randn(2, 3, 5, 4)
    assert torch.equal(block(features), features)
    nn.init.normal_(block.second.weight)
    changed = features.clone()
    changed[:, 0, 2, 1] += 1
    moved = (block(changed) - block(features)).abs().sum((0, 1)) > 0
    assert moved.nonzero()[:, 0].tolist() == [row for row in range(5) for _ in range(4)]


@pytest.mark.parametrize("ladder", [True, False])
def test_layers_stand_from_the_top_down(ladder: bool) -> None:
    image = VAEParams(6, widths=(2,), decoder_widths=(2,), hidden=8, depth=1)
    params = LayeredParams(image, above=(4, 3, 2), hidden=(8, 7, 6), ladder=ladder)
    assert (params.latent, params.noise) == (2, (3, 4, 6))
    encoder, decoder = params.build()
    draw = encoder.draw(encoder.features(torch.rand(5, 1, 28, 28)), torch.randn(5, 15), decoder)
    assert draw.latents.shape == (5, 6)
    assert draw.log_ratio.shape == draw.kl.shape == (5,)
    drawn = decoder(torch.randn(5, 2), *(torch.randn(5, size) for size in params.noise))
    assert drawn.shape == decoder.logits(draw.latents).shape == (5, 1, 28, 28)
    with pytest.raises(ValueError, match="shorter"):
        decoder(torch.randn(5, 2), torch.randn(5, 3))


def test_a_layer_s_variance_is_bounded() -> None:
    moments = Moments(2, 3)(1e4 * torch.randn(50, 2))
    assert moments[:, :3].abs().max() > 100
    assert moments[:, 3:].abs().max() <= Moments.BOUND


def test_layers_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match="above and hidden: expected as many numbers"):
        LayeredParams(VAEParams(), above=(4,), hidden=(8, 8))
    with pytest.raises(ValueError, match=r"image\.classes: expected 0"):
        LayeredParams(VAEParams(classes=2))
    with pytest.raises(ValueError, match="flow: expected None with several stochastic layers"):
        ELBO(LayeredParams(VAEParams()), AdamParams(1e-3), flow=IAFParams())
    with pytest.raises(ValueError, match="draws: expected at least 1, found 0"):
        ELBO(VAEParams(), AdamParams(1e-3), draws=0)


def flow_encoder(steps: int, latent: int = 5) -> FlowEncoder:
    """With weights large enough that nothing is hidden by being small."""
    params = VAEParams(latent, height=4, width=4, widths=(), decoder_widths=(), hidden=8)
    encoder = FlowEncoder(Encoder(params), IAFParams(steps=steps, hidden=12, context=6))
    for step in cast(Iterable[AutoregressiveNetwork], encoder.steps):
        nn.init.normal_(step.shift_and_gate.weight)
    return encoder.double()


@pytest.mark.parametrize("latent", [1, 2, 5])
def test_flow_density_is_the_change_of_variables(latent: int) -> None:
    encoder = flow_encoder(steps=3, latent=latent)
    image, noise = torch.rand(1, 1, 4, 4).double(), torch.randn(latent).double()
    latents, log_density = encoder(image, noise[None])
    jacobian = torch.autograd.functional.jacobian(lambda e: encoder(image, e[None])[0][0], noise)
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(noise).sum()
    assert_close(log_density[0], prior - torch.linalg.slogdet(jacobian)[1])
    assert latents.shape == (1, latent)


def test_a_flow_step_moves_each_latent_by_those_before_it() -> None:
    forwards, backwards = flow_encoder(steps=2).steps
    context = torch.randn(1, 6).double()
    for step, unseen in ((forwards, torch.triu), (backwards, torch.tril)):
        for moment in (0, 1):
            jacobian = torch.autograd.functional.jacobian(
                lambda z, step=step, moment=moment: step(z[None], context)[moment][0],
                torch.randn(5).double(),
            )
            assert not unseen(jacobian).any()
            seen = jacobian[~unseen(torch.ones(5, 5)).bool()]
            assert seen.all()


@pytest.mark.parametrize("latent", [1, 5])
def test_every_latent_of_a_flow_step_depends_on_the_image(latent: int) -> None:
    for step in flow_encoder(steps=2, latent=latent).steps:
        latents = torch.randn(1, latent).double()
        jacobians = torch.autograd.functional.jacobian(
            lambda context, step=step, z=latents: step(z, context), torch.randn(1, 6).double()
        )
        assert all(jacobian.any(dim=-1).all() for jacobian in jacobians)


def test_a_flow_has_no_noise_of_its_own_and_takes_one_image_for_many_rows() -> None:
    encoder = flow_encoder(steps=2)
    image, noise = torch.rand(1, 1, 4, 4).double(), torch.randn(6, 5).double()
    many = encoder(image, noise)
    again = encoder(image.expand(6, -1, -1, -1), noise)
    assert_close(many, again)


def test_a_fresh_flow_stays_near_its_gaussian() -> None:
    params = VAEParams(latent=5, height=4, width=4, widths=(), decoder_widths=(), hidden=8)
    encoder = FlowEncoder(Encoder(params), IAFParams(open_gate=20.0))
    images, noise = torch.rand(3, 1, 4, 4), torch.randn(3, 5)
    mean, log_variance = encoder.base(images)
    latents, _ = encoder(images, noise)
    assert_close(latents, mean + (0.5 * log_variance).exp() * noise)


def test_vae_depth_is_checked() -> None:
    with pytest.raises(ValueError, match="depth: expected at least 1, found 0"):
        VAEParams(depth=0)
