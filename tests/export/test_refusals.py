"""Modules that cannot become an artifact: a clear error, and nothing written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from export import ExportError, ImageSpec, export

Refused = Callable[..., str]


class Function(nn.Module):
    """A module from a function, with one weight so that it is not empty."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self.scale * inputs[0], *inputs[1:])


def spread(z: Tensor) -> Tensor:
    """A decoder that keeps to the contract: latents [B, 12] -> images [B, 3, 2, 2] in (-1, 1)."""
    return torch.tanh(z).view(-1, 3, 2, 2)


def posterior(x: Tensor) -> tuple[Tensor, Tensor]:
    """An encoder that keeps to the contract."""
    return x.flatten(1), -x.flatten(1)


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """Export, expect ExportError and an untouched folder; returns the error's text."""

    def attempt(decode: Callable[..., Any], encode: Any = None, **changes: Any) -> str:
        arguments: dict[str, Any] = {
            "decode": Function(decode),
            "encode": encode and Function(encode),
            "latent": 12,
            "image": ImageSpec(height=2, width=2, channels=3),
            "name": "refused",
            "out": tmp_path / "artifacts",
            "batches": (1, 4),
        }
        with pytest.raises(ExportError) as caught:
            export(**arguments | changes)
        assert list(tmp_path.iterdir()) == []
        return str(caught.value)

    return attempt


def test_parity(refused: Refused) -> None:
    def differs(z: Tensor) -> Tensor:
        return spread(0.9 * z if torch.compiler.is_exporting() else z)

    message = refused(differs)
    assert "decode.onnx: the graph does not reproduce the torch module" in message
    assert "expected a difference of at most 1 grey level, found " in message
    assert "at batches [1, 3, 4]" in message


def test_encoder_parity(refused: Refused) -> None:
    def differs(x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = posterior(x)
        return mean, log_variance + (0.01 if torch.compiler.is_exporting() else 0.0)

    message = refused(spread, differs)
    assert "encode.onnx: the graph does not reproduce" in message
    assert "at most 0.001, found 0.01" in message


def test_noise_in_eval_mode(refused: Refused) -> None:
    message = refused(lambda z: spread(z + torch.randn_like(z)))
    assert "expected the same images for the same latents" in message
    message = refused(spread, lambda x: (x.flatten(1) + torch.rand(12), x.flatten(1)))
    assert "expected the same posteriors for the same images" in message


def test_noise_too_small_to_see(refused: Refused) -> None:
    message = refused(lambda z: spread(z + 1e-6 * torch.randn_like(z)))
    assert "operator RandomNormalLike is not among those" in message
    assert "a graph holds no random numbers" in message


def test_rows_that_depend_on_their_batch(refused: Refused) -> None:
    message = refused(lambda z: spread(z - z.mean(dim=0)))
    assert "comes out differently alone" in message
    assert "one row depend on the others in its batch" in message


def test_rows_that_take_the_truncation_of_another(refused: Refused) -> None:
    message = refused(lambda z, psi: spread(psi[0] * z), takes_truncation=True)
    assert "comes out differently alone" in message


def test_fewer_classes_than_labels(refused: Refused) -> None:
    classes = torch.randn(999, 12)
    labels = [str(number) for number in range(1000)]
    message = refused(lambda z, y: spread(z + classes[y]), labels=labels)
    assert "decode: the module failed on latents [16, 12], labels [16]: IndexError" in message


def test_a_batch_of_one_that_fails(refused: Refused) -> None:
    def squeezes(z: Tensor) -> Tensor:
        alone = not torch.compiler.is_exporting() and len(z) == 1
        return spread(z)[0] if alone else spread(z)

    message = refused(squeezes)
    assert "decode.onnx: the module failed on a batch of 1: RuntimeError: permute" in message


def test_what_onnx_cannot_say(refused: Refused) -> None:
    def by_value(z: Tensor) -> Tensor:
        return spread(z if float(z.sum()) > 0 else -z)

    message = refused(by_value)
    assert "decode.onnx: torch cannot convert the module to ONNX" in message
    assert "control flow" in message


@pytest.mark.parametrize(
    ("decode", "expected"),
    [
        (lambda z: spread(z).index_put((z.view(-1, 3, 2, 2) > 1,), z.new_zeros(())), "torch.where"),
        (lambda z: torch.fft.irfft2(torch.fft.rfft2(spread(z))), "the matrix of its cosines"),
    ],
    ids=["mask", "fourier"],
)
def test_operators_that_can_be_written_otherwise(
    refused: Refused, decode: Callable[[Tensor], Any], expected: str
) -> None:
    message = refused(decode)
    assert "is not among those an artifact may use: " in message
    assert expected in message


def test_torch_prints_nothing_of_a_module_that_it_cannot_convert(
    refused: Refused, capfd: pytest.CaptureFixture[str]
) -> None:
    message = refused(lambda z: spread(z if z.sum() > 0 else -z))
    assert "free of Python control flow that depends on values" in message
    assert capfd.readouterr() == ("", "")


def test_a_batch_size_frozen_into_the_graph(refused: Refused) -> None:
    message = refused(lambda z: spread(z + 1) if len(z) == 1 else spread(z))
    assert "does not reproduce the torch module" in message
    assert "at batches [1, 3, 4]" in message
    message = refused(lambda z: spread(torch.cat([z, -z]).chunk(2)[0]))
    assert "no chunk of them" in message
    message = refused(lambda z: spread(z[:3] if torch.compiler.is_exporting() else z))
    assert "decode.onnx: images: expected shape [4, 2, 2, 3], found [3, 2, 2, 3]" in message


@pytest.mark.parametrize(
    ("decode", "expected"),
    [
        (
            lambda z: torch.tanh(z).view(-1, 2, 2, 3),
            "of shape [16, 3, 2, 2] (B, C, H, W), found float32 [16, 2, 2, 3]: return them "
            "channels first",
        ),
        (lambda z: torch.tanh(z).view(-1, 2, 6), "found float32 [16, 2, 6]: reshape them to that"),
        (lambda z: spread(z)[:1], "found float32 [1, 3, 2, 2]"),
        (lambda z: spread(z).to(torch.uint8), "found uint8 [16, 3, 2, 2]: return floats"),
        (lambda z: (spread(z), spread(z)), "found a tuple of 2"),
        (lambda z: 127.5 * (spread(z) + 1), "expected values in [-1, 1], found 1.11"),
        (lambda z: spread(z.sqrt()), "expected finite values, found NaN or infinity in rows [0"),
        (lambda z: spread(z.view(-1, 13)), "decode: the module failed on latents [16, 12]"),
    ],
    ids=["channels-last", "flat", "one-row", "uint8", "pair", "0-255", "nan", "raises"],
)
def test_decoders(refused: Refused, decode: Callable[[Tensor], Any], expected: str) -> None:
    assert expected in refused(decode)


@pytest.mark.parametrize(
    ("encode", "expected"),
    [
        (lambda x: x.flatten(1), "expected a pair (mean, log_variance), found float32 [16, 12]"),
        (lambda x: (x, x), "encode: mean: expected a float tensor of shape [16, 12]"),
        (lambda x, labels: posterior(x), "encode: the module failed on images [16, 3, 2, 2]"),
    ],
    ids=["one-tensor", "not-flat", "takes-labels"],
)
def test_encoders(refused: Refused, encode: Callable[..., Any], expected: str) -> None:
    assert expected in refused(spread, encode)


@pytest.mark.parametrize(
    ("encode", "expected"),
    [
        (lambda x: posterior(x), "encode: the module failed on images [16, 3, 2, 2], noise [16"),
        (lambda x, noise: noise, "expected a pair (latents, log_density), found float32 [16, 12]"),
        (lambda x, noise: (noise, noise), "log_density: expected a float tensor of shape [16] (B)"),
        (
            lambda x, noise: (noise + torch.rand(12), noise.sum(1)),
            "expected the same posteriors for the same images",
        ),
    ],
)
def test_encoders_that_take_noise(
    refused: Refused, encode: Callable[..., Any], expected: str
) -> None:
    assert expected in refused(spread, encode, encode_takes_noise=True)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "Not A Name"}, "name: expected a name of lower-case letters"),
        ({"latent": ()}, "shape"),
        ({"latent": 0}, "greater than or equal to 1, found 0"),
        ({"labels": "abc"}, "expected a sequence of class names, found the text 'abc'"),
        ({"labels": ["cat", "cat"]}, "labels: expected distinct class names"),
        ({"batches": (4, 1)}, "batches: expected ascending sizes"),
        ({"version": 0}, "version: Input should be greater than or equal to 1"),
        ({"image": None}, "refused: cannot be exported: AttributeError"),
        ({"batches": 5}, "refused: cannot be exported: TypeError"),
        ({"name": 5}, "name: object of type 'int'"),
        ({"encode_takes_labels": True}, "expected an encoder and labels beside it"),
        ({"encode_takes_noise": True}, "encode_takes_noise: expected an encoder beside it"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_arguments(refused: Refused, changes: dict[str, Any], expected: str) -> None:
    assert expected in refused(spread, **changes)
