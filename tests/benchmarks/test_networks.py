"""The reference networks stay what they are: every speed figure is measured on them."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmarks.speed import networks, references
from benchmarks.speed.networks import NETWORKS, Network

FIXED = {
    # name: parameters, FLOPs an image, mean absolute output, mean of the last image
    "dcgan64 decode": (3_576_704, 209_256_448, 0.534866, -0.042569),
    "dcgan32 decode": (1_068_928, 35_946_496, 0.542145, 0.032226),
    "resnet32 decode": (4_304_387, 3_362_258_944, 0.545705, -0.276046),
    "vae32 decode": (1_108_787, 4_620_288, 0.545330, -0.003292),
    "vae32 encode": (1_124_240, 4_653_056, 0.436256, None),
}


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def network(request: pytest.FixtureRequest) -> Network:
    return networks.build(request.param)


def _check(name: str, module: nn.Module, one: tuple[Tensor, ...], output: Tensor) -> None:
    count, flops, size, last = FIXED[name]
    assert networks.parameters(module) == count
    assert networks.flops(module, one) == flops
    # Other processors and thread counts sum in another order; 1e-3 leaves them room, while
    # three other seeds moved the last image's mean by 0.014 or more.
    assert output.abs().mean().item() == pytest.approx(size, abs=1e-3)
    if last is not None:
        assert output[-1].mean().item() == pytest.approx(last, abs=1e-3)


@torch.no_grad()
def test_decoders_are_fixed(network: Network) -> None:
    images = network.decode(*network.inputs(4))
    spec = network.image
    assert images.shape == (4, spec.channels, spec.height, spec.width)
    assert images.abs().max() <= 1
    _check(f"{network.name} decode", network.decode, network.inputs(1), images)


@torch.no_grad()
def test_encoder_is_fixed() -> None:
    network = networks.build("vae32")
    assert network.encode is not None
    mean, log_variance = network.encode(network.images(4))
    assert mean.shape == log_variance.shape == (4, *network.latent)
    _check("vae32 encode", network.encode, (network.images(1),), mean)


@torch.no_grad()
def test_images_vary_from_latent_to_latent(network: Network) -> None:
    grey_levels = (network.decode(*network.inputs(16)) + 1) * 127.5
    assert grey_levels.std(dim=0).mean() > 20


@torch.no_grad()
def test_an_image_does_not_depend_on_its_batch(network: Network) -> None:
    inputs = network.inputs(4)
    alone = network.decode(*(value[2:3] for value in inputs))
    # Another batch size is another order of sums: some float32 roundings, far below a grey level.
    torch.testing.assert_close(alone, network.decode(*inputs)[2:3], rtol=0, atol=1e-4)


@torch.no_grad()
def test_labels_matter() -> None:
    network = networks.build("resnet32")
    latents, labels = network.inputs(2)
    images = network.decode(latents, labels)
    other = network.decode(latents, (labels + 1) % 10)
    assert (images - other).abs().mean() > 0.05


def test_flops_count_two_for_a_multiply_accumulate() -> None:
    layer = nn.Linear(30, 20)
    assert networks.flops(layer, (torch.zeros(1, 30),)) == 2 * 30 * 20


def test_building_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    networks.build("dcgan32")
    assert torch.equal(torch.rand(1), expected)


def test_command_prints_and_writes_the_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    references.main(["--json", str(tmp_path / "references.json")])
    printed = capsys.readouterr().out
    assert "209.3 M" in printed
    assert "3362.3 M" in printed
    record = json.loads((tmp_path / "references.json").read_text())
    assert record["figures"]["vae32 decode"] == {"parameters": 1_108_787, "flops": 4_620_288}
    assert record["environment"]["cores"] >= 1
