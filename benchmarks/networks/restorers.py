"""Rows: super-resolution and inpainting, by spandrel."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks.networks.row import Arrays, Reference, Row, Wrap, floats, levels
from export.torchvision_operators import declare_operators

_SWIN = {
    "img_size": 64,
    "window_size": 8,
    "depths": [6] * 6,
    "embed_dim": 180,
    "num_heads": [6] * 6,
    "mlp_ratio": 2,
    "upscale": 4,
    "img_range": 1.0,
    "upsampler": "nearest+conv",
    "resi_connection": "1conv",
}


def _written(
    module: str, name: str, config: Mapping[str, Any], gain: float = 8.0
) -> Callable[[Path], Sequence[str]]:
    def write(folder: Path) -> Sequence[str]:
        declare_operators()
        torch.manual_seed(0)
        network = getattr(import_module(f"spandrel.architectures.{module}"), name)(**config)
        state = {key: tensor.clone().contiguous() for key, tensor in network.state_dict().items()}
        _widen(network, state, gain)
        save_file(state, folder / "network.safetensors")
        return ("spandrel", str(folder / "network.safetensors"), "--name", "network")

    return write


def _widen(network: torch.nn.Module, state: dict[str, Any], gain: float) -> None:
    """Images of all grey levels: new networks give nearly flat ones."""
    last = [name for name, each in network.named_parameters() if each.dim() == 4][-1]
    state[last] *= gain
    bias = last.removesuffix("weight") + "bias"
    if bias in state:
        state[bias].fill_(0.5)


def _read(folder: Path, wrap: Wrap) -> Reference:
    declare_operators()
    import spandrel

    descriptor: Any = spandrel.ModelLoader().load_from_file(folder / "network.safetensors")
    descriptor.eval()
    call = wrap(descriptor)

    @torch.inference_mode()
    def run(graph: str, inputs: Arrays) -> Arrays:
        given = [torch.from_numpy(floats(array, 0, 1)) for array in inputs.values()]
        return {"translated": levels(call(*given).numpy(), 0, 1)}

    return run


def rows() -> list[Row]:
    """RRDB x4 (16.7 M parameters), SwinIR-L x4 and LaMa."""
    rrdb = {"num_filters": 64, "num_blocks": 23, "scale": 4}
    return [
        Row("RRDB x4", _written("ESRGAN", "ESRGAN", rrdb), _read, ((64, 96),)),
        Row("SwinIR x4", _written("SwinIR", "SwinIR", _SWIN, 80.0), _read, ((64, 96),)),
        Row(
            "LaMa",
            _written("LaMa.__arch.LaMa", "LaMa", {"in_nc": 4, "out_nc": 3}),
            _read,
            ((256, 320),),
        ),
    ]
