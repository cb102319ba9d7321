"""Rows: autoencoders of pythae, with its networks for CIFAR-10; its models hold these as parts, and
give what they make in a `ModelOutput`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.networks.row import Arrays, Reference, Row, Wrap, floats, levels

_HERE = "benchmarks.networks.pythae_models"
_IMAGE = (3, 32, 32)


def _networks() -> Any:
    from pythae.models.nn.benchmarks import cifar  # pyright: ignore[reportMissingImports]

    return cifar


def _vae() -> Any:
    from pythae.models import VAE, VAEConfig  # pyright: ignore[reportMissingImports]

    config = VAEConfig(input_dim=_IMAGE, latent_dim=16)
    networks = _networks()
    encoder = networks.Encoder_ResNet_VAE_CIFAR(config)
    return VAE(config, encoder, networks.Decoder_ResNet_AE_CIFAR(config))


def _vqvae() -> Any:
    from pythae.models import VQVAE, VQVAEConfig  # pyright: ignore[reportMissingImports]

    config = VQVAEConfig(input_dim=_IMAGE, latent_dim=16, num_embeddings=512)
    networks = _networks()
    encoder = networks.Encoder_ResNet_VQVAE_CIFAR(config)
    return VQVAE(config, encoder, networks.Decoder_ResNet_VQVAE_CIFAR(config))


def vae_encoder() -> nn.Module:
    """Images [B, 3, 32, 32] in [0, 1] -> `embedding` and `log_covariance`, [B, 16] each."""
    return _vae().encoder


def vae_decoder() -> nn.Module:
    """Latents [B, 16] -> `reconstruction`."""
    return _vae().decoder


class _Quantised(nn.Module):
    """What the VQ-VAE decodes of an image: its encoder's output, quantised."""

    def __init__(self) -> None:
        super().__init__()
        model = _vqvae()
        self.encoder, self.quantizer = model.encoder, model.quantizer

    def forward(self, images: Tensor) -> Any:
        made = self.quantizer(self.encoder(images).embedding.permute(0, 2, 3, 1))
        return made.quantized_vector, made.quantized_indices[:, 0]


def vqvae_encoder() -> nn.Module:
    """Images [B, 3, 32, 32] in [0, 1] -> latents [B, 16, 8, 8] and codes [B, 8, 8]."""
    return _Quantised()


def vqvae_decoder() -> nn.Module:
    """Latents [B, 16, 8, 8] -> `reconstruction`."""
    return _vqvae().decoder


def _writing(
    kind: str, latent: str, encoder: Callable[[], nn.Module], decoder: Callable[[], nn.Module],
    gives: Sequence[str],
) -> Callable[[Path], Sequence[str]]:  # fmt: skip
    def write(folder: Path) -> Sequence[str]:
        torch.manual_seed(0)
        parts = {"encoder": encoder(), "decoder": decoder()}
        files = {name: folder / f"{name}.safetensors" for name in parts}
        with torch.no_grad():  # new networks give nearly flat grey
            last = [m for m in parts["decoder"].modules() if isinstance(m, nn.ConvTranspose2d)][-1]
            last.weight.mul_(16)
            if isinstance(parts["encoder"], _Quantised):
                nn.init.normal_(parts["encoder"].quantizer.embeddings.weight)
        for name, part in parts.items():
            save_file(part.state_dict(), files[name])
        return (
            "module", f"{_HERE}:{kind}_decoder", "--weights", str(files["decoder"]),
            "--encoder", f"{_HERE}:{kind}_encoder", "--encoder-weights", str(files["encoder"]),
            "--latent", latent, "--image", "32x32x3", "--value-range", "0", "1",
            "--name", "network", *gives,
        )  # fmt: skip

    return write


def _reading(
    encoder: Callable[[], nn.Module], decoder: Callable[[], nn.Module], names: Sequence[str]
) -> Callable[[Path, Wrap], Reference]:
    def read(folder: Path, wrap: Wrap) -> Reference:
        encode, decode = encoder(), decoder()
        encode.load_state_dict(load_file(folder / "encoder.safetensors"))
        decode.load_state_dict(load_file(folder / "decoder.safetensors"))
        encode, decode = wrap(encode.eval()), wrap(decode.eval())

        @torch.inference_mode()
        def run(graph: str, inputs: Arrays) -> Arrays:
            if graph == "decode":
                made = decode(torch.from_numpy(inputs["latents"])).reconstruction
                return {"images": levels(made.numpy(), 0.0, 1.0)}
            made = encode(torch.from_numpy(floats(inputs["images"], 0.0, 1.0)))
            parts = made if isinstance(made, tuple) else (made.embedding, made.log_covariance)
            return {name: part.numpy() for name, part in zip(names, parts, strict=True)}

        return run

    return read


def rows() -> list[Row]:
    """A VAE and a VQ-VAE of pythae."""
    posterior = ("--encoder-output", "embedding,log_covariance")
    coded = ("--encoder-gives", "latents,codes", "--codes", "8x8")
    return [
        Row(
            "VAE (pythae)",
            _writing("vae", "16", vae_encoder, vae_decoder, posterior),
            _reading(vae_encoder, vae_decoder, ("mean", "log_variance")),
        ),
        Row(
            "VQ-VAE (pythae)",
            _writing("vqvae", "16x8x8", vqvae_encoder, vqvae_decoder, coded),
            _reading(vqvae_encoder, vqvae_decoder, ("latents", "codes")),
        ),
    ]
