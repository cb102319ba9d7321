"""The copies that are exported, and the originals, which nobody may notice were copied."""

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from export.modules.frozen import frozen_copy
from export.modules.graph_module import GraphModule
from export.options import ExportOptions
from export.signatures import decoder_spec, encoder_spec
from runtime.images import ImageSpec, to_float, to_uint8


def old_weight_norm(module: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated, and still in people's code
        return nn.utils.weight_norm(module)


@pytest.mark.parametrize(
    "norm",
    [
        parametrizations.spectral_norm,
        parametrizations.weight_norm,
        nn.utils.spectral_norm,
        old_weight_norm,
    ],
    ids=["spectral", "weight", "old-spectral", "old-weight"],
)
def test_a_copy_is_plain_and_the_original_untouched(norm) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(norm(nn.Conv2d(4, 6, 3)), nn.BatchNorm2d(6), nn.Dropout(0.5))
    images = torch.randn(2, 4, 5, 5)
    module(images)  # in train mode: the older norms now hold a weight with a history
    module[1].eval()  # a layer its owner froze
    modes = [child.training for child in module.modules()]
    state = copy.deepcopy(module.state_dict())

    frozen = frozen_copy(module)

    assert {name for name, _ in frozen.named_parameters()} == {
        *("0.weight", "0.bias", "1.weight", "1.bias")
    }
    assert not any(child.training for child in frozen.modules())
    assert [child.training for child in module.modules()] == modes
    assert module.state_dict().keys() == state.keys()
    assert all(torch.equal(module.state_dict()[name], state[name]) for name in state)
    assert all(parameter.requires_grad for parameter in module.parameters())
    # The original still runs with its norm, to the same result as the copy.
    torch.testing.assert_close(frozen(images), module.eval()(images))


def test_a_half_precision_module_is_copied_to_float32() -> None:
    module = nn.Linear(2, 2).half()
    assert frozen_copy(module).weight.dtype == torch.float32
    assert module.weight.dtype == torch.float16


@pytest.mark.parametrize("value_range", [(-1.0, 1.0), (0.0, 1.0), (0.0, 255.0), (-2.5, 3.0)])
def test_decode_rounds_and_clamps_like_the_runtime(value_range: tuple[float, float]) -> None:
    image = ImageSpec(height=4, width=256, channels=3, value_range=value_range)
    low, high = value_range
    span = high - low
    # Beyond both ends of the range, and with values that fall on halves of a grey level.
    steps = torch.linspace(low - span / 10, high + span / 10, 4 * 256 * 3 - 511)
    halves = low + span / 510 * torch.arange(511)
    floats = torch.cat([steps, halves]).view(1, 3, 4, 256)
    options = ExportOptions(name="any", latent=(3, 4, 256), image=image)
    decode = GraphModule(nn.Identity(), decoder_spec(options), value_range)
    images = decode(floats)[0].numpy()
    expected = to_uint8(floats.permute(0, 2, 3, 1).numpy(), image)
    np.testing.assert_array_equal(images, expected)
    assert images.shape == (1, 4, 256, 3)
    assert (images.min(), images.max()) == (0, 255)


def test_encode_gives_the_network_the_runtimes_floats() -> None:
    image = ImageSpec(height=1, width=256, channels=1, value_range=(-1.0, 1.0))
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 256, 1)
    given = []

    class Spy(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            given.append(x)
            return x, x

    options = ExportOptions(name="any", latent=(1, 1, 256), image=image)
    encode = GraphModule(Spy(), encoder_spec(options), image.value_range)
    encode(torch.from_numpy(images))
    np.testing.assert_array_equal(given[0].numpy(), to_float(images, image).transpose(0, 3, 1, 2))


def test_the_log_variance_is_bounded_in_the_graph_and_nothing_else_is() -> None:
    image = ImageSpec(height=1, width=2, channels=1, value_range=(-1.0, 1.0))
    images = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 2, 1)

    class Extreme(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return 200 * x, 200 * x

    options = ExportOptions(name="any", latent=(1, 1, 2), image=image)
    mean, log_variance = GraphModule(Extreme(), encoder_spec(options), image.value_range)(images)
    assert mean.flatten().tolist() == [-200, 200]
    assert log_variance.flatten().tolist() == [-30, 20]
