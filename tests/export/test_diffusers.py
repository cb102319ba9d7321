"""`python -m export diffusers`: autoencoders as `save_pretrained` writes them, at small width."""

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import runtime
from export.__main__ import main
from export.torchvision_operators import declare_operators
from runtime.artifact.reading import read_artifact

declare_operators()
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL  # noqa: E402
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny  # noqa: E402
from diffusers.models.autoencoders.vq_model import VQModel  # noqa: E402

from export.families.autoencoders import halves, scale_of  # noqa: E402

Options = dict[str, Any]

BLOCKS: Options = {
    "block_out_channels": (8, 16),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "norm_num_groups": 4,
}
# One level: what a test of conventions needs of the network.
FLAT: Options = {
    "block_out_channels": (8,),
    "down_block_types": ("DownEncoderBlock2D",),
    "up_block_types": ("UpDecoderBlock2D",),
    "norm_num_groups": 4,
}
TINY: Options = {
    "encoder_block_out_channels": (8, 8),
    "decoder_block_out_channels": (8, 8),
    "num_encoder_blocks": (1, 1),
    "num_decoder_blocks": (1, 1),
}
VECTORS: Options = {**BLOCKS, "num_vq_embeddings": 16, "latent_channels": 3}
STATISTICS: Options = {"latents_mean": [0.3, -0.2, 0.1, 0.5], "latents_std": [2.0, 1.5, 0.5, 3.0]}
SIZES = [(16, 32), (24, 16)]


def saved(
    folder: Path,
    kind: Any,
    card: str = "",
    dtype: Any = torch.float32,
    max_shard_size: str = "10GB",
    **config: Any,
) -> Any:
    """A model with weights that give images of some contrast, written as diffusers writes it."""
    torch.manual_seed(0)
    model = kind(**config).to(dtype)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.7 / parameter[0].numel() ** 0.5)
    if kind is AutoencoderTiny:  # mid-grey is 0.5 there
        nn.init.constant_(model.decoder.layers[-1].bias, 0.5)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    if card:
        (folder / "README.md").write_text(card)
    return model.float().eval()


def old_names(folder: Path) -> None:
    """What diffusers called the layers of attention before 0.15, as in Stable Diffusion 1.5."""
    file = folder / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for new, name in old.items():
        state = {key.replace(f".{new}.", f".{name}."): tensor for key, tensor in state.items()}
    save_file(state, file)


def exported(folder: Path, out: Path, *options: str) -> Path:
    words = ["diffusers", str(folder), "--size", "16x24", "--name", "vae", "--out", str(out)]
    assert main([*words, *options]) == 0
    return out / "vae" / "1"


def levels(floats: Tensor) -> NDArray[np.float64]:
    """The grey levels that pipelines make of a decoder's [B, C, H, W] in [-1, 1]."""
    return ((floats / 2 + 0.5).clamp(0, 1) * 255).permute(0, 2, 3, 1).double().numpy()


def pictures(size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (2, *size, 3), dtype=np.uint8)


def floats_of(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1


def compared(
    artifact: Path,
    latent: Callable[[int, int], Sequence[int]],
    decode: Callable[[Tensor], Tensor],
    encode: Callable[[Tensor], dict[str, Tensor]],
    backend: str = "onnxruntime",
) -> None:
    """The artifact gives what the pipelines' conventions give, at several sizes."""
    loaded = runtime.load(artifact, backend=backend, precision="fp32")
    with loaded as model, torch.inference_mode():
        for height, width in SIZES:
            shape = (2, *latent(height, width))
            latents = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
            images = model.decode(latents)
            assert images.shape == (2, height, width, 3)
            # Half a level from rounding, half from sums in another order.
            expected = levels(decode(torch.from_numpy(latents)))
            assert expected.std() > 10
            assert np.abs(images - expected).max() <= 1
            images = pictures((height, width))
            found = model.encode(images).arrays()
            wanted = encode(floats_of(images))
            assert found.keys() == wanted.keys()
            for name, array in found.items():
                reference = wanted[name].numpy()
                assert array.shape == reference.shape
                np.testing.assert_allclose(array, reference, rtol=1e-3, atol=1e-4)


def normal(model: Any, scale: Callable[[Tensor], Tensor], factor: Any) -> Callable[..., Any]:
    """What an AutoencoderKL's pipelines make of its posterior: a normal, shifted and scaled."""

    def encode(images: Tensor) -> dict[str, Tensor]:
        posterior = model.encode(images).latent_dist
        deviations = (posterior.std * factor).log() * 2
        return {"mean": scale(posterior.mean), "log_variance": deviations}

    return encode


def test_stable_diffusion(tmp_path: Path) -> None:
    model = saved(tmp_path / "sd" / "vae", AutoencoderKL, **BLOCKS)
    old_names(tmp_path / "sd" / "vae")
    (tmp_path / "sd" / "README.md").write_text("---\nlicense: openrail\n---\n# A model\n")
    artifact = exported(tmp_path / "sd", tmp_path, "--subfolder", "vae")
    factor = model.config.scaling_factor
    compared(
        artifact,
        lambda h, w: (4, h // 2, w // 2),
        # StableDiffusionPipeline.__call__, and prepare_latents of the image-to-image pipeline
        lambda latents: model.decode(latents / factor, return_dict=False)[0],
        normal(model, lambda z: factor * z, factor),
    )
    manifest = read_artifact(artifact).manifest
    assert manifest.licence == "openrail"
    assert manifest.prior == "none"
    assert manifest.image().shape == (16, 24, 3)
    axis = manifest.axes["height"]
    assert (axis.min, axis.max, axis.multiple_of, axis.default) == (16, 2048, 2, 16)
    assert manifest.provenance.source == "diffusers AutoencoderKL sd"
    details = manifest.provenance.details
    assert details["latents"] == "scaled by 0.18215, shifted by 0"
    assert (details["scaling_factor"], details["shift_factor"]) == (0.18215, 0.0)


def test_sixteen_channels_in_bfloat16_without_convolutions_between(tmp_path: Path) -> None:
    plain: Options = {"use_quant_conv": False, "use_post_quant_conv": False}
    factors: Options = {"scaling_factor": 0.3611, "shift_factor": 0.1159}
    config: Options = {**FLAT, **plain, **factors, "latent_channels": 16}
    card = "---\nlicense: other\nlicense_name: flux-dev\nmodel_id: Some/FLUX VAE\n---\n"
    model = saved(tmp_path / "flux", AutoencoderKL, card, torch.bfloat16, "10KB", **config)
    assert len(list((tmp_path / "flux").glob("*-of-*.safetensors"))) > 1
    artifact = exported(tmp_path / "flux", tmp_path)
    compared(
        artifact,
        lambda h, w: (16, h, w),
        # FluxPipeline.__call__, FluxImg2ImgPipeline._encode_vae_image
        lambda latents: model.decode((latents / 0.3611) + 0.1159, return_dict=False)[0],
        normal(model, lambda z: (z - 0.1159) * 0.3611, 0.3611),
    )
    manifest = read_artifact(artifact).manifest
    assert manifest.licence == "flux-dev"
    assert manifest.provenance.source == "diffusers AutoencoderKL Some/FLUX VAE"
    assert manifest.provenance.details["shift_factor"] == 0.1159
    assert (
        manifest.provenance.details["weights"] == "diffusion_pytorch_model.safetensors.index.json"
    )


def test_means_and_deviations_of_every_channel(tmp_path: Path) -> None:
    model = saved(tmp_path / "xl", AutoencoderKL, **BLOCKS, **STATISTICS, scaling_factor=0.5)
    mean, std = (torch.tensor(each).view(1, 4, 1, 1) for each in STATISTICS.values())
    latents, images = torch.randn(2, 4, 8, 12), floats_of(pictures((16, 24)))
    decoder, encoder, _ = halves(copy.deepcopy(model))
    with torch.inference_mode():
        # StableDiffusionXLPipeline.__call__ and prepare_latents of the image-to-image pipeline
        expected = model.decode(latents * std / 0.5 + mean, return_dict=False)[0]
        torch.testing.assert_close(decoder(latents), expected)
        posterior = model.encode(images).latent_dist
        found = encoder(images)
    torch.testing.assert_close(found[0], (posterior.mean - mean) * 0.5 / std)
    torch.testing.assert_close(found[1].exp().sqrt(), posterior.std * 0.5 / std)
    details = scale_of(model).details()
    assert details["latents"] == "scaled by 0.5 / latents_std, shifted by latents_mean"
    assert details["scaling_factor"] == 0.5
    assert details["latents_mean"] == STATISTICS["latents_mean"]
    assert details["latents_std"] == STATISTICS["latents_std"]


def test_a_tiny_autoencoder_has_no_variance(tmp_path: Path) -> None:
    model = saved(tmp_path / "tiny", AutoencoderTiny, **TINY)
    compared(
        exported(tmp_path / "tiny", tmp_path),
        lambda h, w: (4, h // 2, w // 2),
        lambda latents: model.decode(latents, return_dict=False)[0],
        lambda images: {"latents": model.encode(images).latents},
        # Its latents, scaled by 1, are one port of several names there.
        backend="openvino",
    )


def quantised(model: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    z, _, (_, _, codes) = model.quantize(model.encode(images).latents)
    return z, codes.view(len(z), *z.shape[2:])


def test_vectors_of_a_codebook(tmp_path: Path) -> None:
    model = saved(tmp_path / "vq", VQModel, **VECTORS | FLAT)
    artifact = exported(tmp_path / "vq", tmp_path)
    factor = model.config.scaling_factor

    def encode(images: Tensor) -> dict[str, Tensor]:
        z, codes = quantised(model, images)
        return {"latents": z * factor, "codes": codes}

    compared(
        artifact,
        lambda h, w: (3, h, w),
        # LDMPipeline.__call__, which quantises
        lambda latents: model.decode(latents / factor).sample,
        encode,
    )
    images = pictures((16, 24))
    loaded = runtime.load(artifact, backend="onnxruntime", precision="fp32")
    with loaded, torch.inference_mode():
        rebuilt = model.decode(quantised(model, floats_of(images))[0]).sample
        assert np.abs(loaded.reconstruct(images) - levels(rebuilt)).max() <= 1


def test_vectors_as_kandinsky_takes_them(tmp_path: Path) -> None:
    wide: Options = {"block_out_channels": (32, 32), "norm_num_groups": 32, "norm_type": "spatial"}
    model = saved(tmp_path / "movq", VQModel, **VECTORS | wide)
    latents, images = torch.randn(2, 3, 8, 12), floats_of(pictures((16, 24)))
    decoder, encoder, gives = halves(copy.deepcopy(model))
    with torch.inference_mode():
        # KandinskyPipeline.__call__ neither scales nor quantises
        expected = model.decode(latents, force_not_quantize=True).sample
        torch.testing.assert_close(decoder(latents), expected)
        for found, wanted in zip(encoder(images), quantised(model, images), strict=True):
            torch.testing.assert_close(found, wanted)
    assert gives == ("latents", "codes")
    assert scale_of(model).details()["scaling_factor"] == 1


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good") / "vae"
    saved(folder, AutoencoderKL, **BLOCKS)
    return folder


def configured(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def reweighted(folder: Path, **changes: Tensor | None) -> None:
    file = folder / "diffusion_pytorch_model.safetensors"
    state: dict[str, Any] = load_file(file)
    state |= {name.replace("__", "."): tensor for name, tensor in changes.items()}
    save_file({name: tensor for name, tensor in state.items() if tensor is not None}, file)


def renamed(folder: Path, name: str) -> None:
    (folder / "diffusion_pytorch_model.safetensors").rename(folder / name)


def sharded(folder: Path) -> None:
    renamed(folder, "diffusion_pytorch_model-00001-of-00002.safetensors")


def pipeline(folder: Path) -> None:
    for name, kind in {"vae": "AutoencoderKL", "unet": "UNet2DConditionModel"}.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps({"_class_name": kind}))
    (folder / "config.json").unlink()


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "architecture": (
        lambda f: configured(f, _class_name="AutoencoderKLWan"),
        "_class_name: expected AutoencoderKL, AutoencoderTiny, VQModel, found 'AutoencoderKLWan'",
    ),
    "no class": (lambda f: (f / "config.json").write_text("{}"), "is it a config of diffusers?"),
    "no config": (lambda f: (f / "config.json").unlink(), "expected a model's config beside its"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "config.json: expected a JSON obj"),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "expected a JSON object, found []"),
    "blocks": (
        lambda f: configured(f, down_block_types=["NoSuchBlock"] * 2),
        "config.json: AutoencoderKL cannot be built: ValueError: NoSuchBlock does not exist",
    ),
    "factor": (lambda f: configured(f, scaling_factor=0), "scaling_factor: expected a number, a f"),
    "deviations": (
        lambda f: configured(f, **STATISTICS | {"latents_std": [1.0]}),
        "latents_std: expected 4 numbers, found [1.0]",
    ),
    "shift and means": (
        lambda f: configured(f, **STATISTICS, shift_factor=0.1),
        "expected both of latents_mean and latents_std and no shift_factor, or neither",
    ),
    "channels": (lambda f: configured(f, in_channels=5, out_channels=5), "found 5 and 5"),
    "missing": (
        lambda f: reweighted(f, decoder__conv_in__bias=None),
        "do not fit AutoencoderKL: missing ['decoder.conv_in.bias']",
    ),
    "unexpected": (
        lambda f: reweighted(f, decoder__more__bias=torch.zeros(1)),
        "unexpected ['decoder.more.bias']",
    ),
    "shape": (
        lambda f: reweighted(f, decoder__conv_in__bias=torch.zeros(3)),
        "decoder.conv_in.bias [3] (expected [16])",
    ),
    "no weights": (
        lambda f: (f / "diffusion_pytorch_model.safetensors").unlink(),
        "diffusion_pytorch_model.safetensors: expected the weights, found none",
    ),
    "a pickle": (
        lambda f: renamed(f, "diffusion_pytorch_model.bin"),
        "use_safetensors=False).save_pretrained(",
    ),
    "shards": (sharded, "safetensors.index.json, which lists the shards, found none"),
    "two variants": (
        lambda f: (renamed(f, "a.fp16.safetensors"), save_file({}, f / "b.fp32.safetensors")),
        "found a.fp16.safetensors, b.fp32.safetensors: keep one",
    ),
    "a pipeline": (pipeline, "found several (unet, vae): choose with --subfolder vae"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_wrong_is_named_and_nothing_is_written(
    kind: str, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, expected = REFUSED[kind]
    folder = tmp_path / "vae"
    folder.mkdir()
    for file in good.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    change(folder)
    assert main(["diffusers", str(folder), "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("ExportError: ")
    assert expected in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--size", "15x16"], "--size: height: Value error, expected min <= default <= max, each"),
        (["--size", "16..64", "--size", "8..16"], "--size: expected one default, HEIGHTxWIDTH, an"),
        (["--subfolder", "vae"], "expected a folder with config.json and safetensors, found none"),
    ],
)
def test_options_that_do_not_fit(
    words: list[str], expected: str, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diffusers", str(good), *words, "--out", str(tmp_path / "out")]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_hub_that_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    words = ["diffusers", "some-one/some-vae", "--out", "out"]
    assert main(words) == 2
    message = capsys.readouterr().err
    assert "some-one/some-vae: no such folder here, and the hub does not give it" in message
    assert "give the path of a folder that was downloaded" in message
    assert not (tmp_path / "out").exists()
