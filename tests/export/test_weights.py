"""Weights files as training leaves them: prefixes are taken off where then everything fits."""

import hashlib
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

from export.checksum import checksum
from export.modules.building import load_module
from export.modules.weights import PICKLES, load_weights
from runtime.errors import ExportError

State = dict[str, Tensor]

INDEX = "model.safetensors.index.json"


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight


def filled(module: nn.Module, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.rand(parameter.shape, generator=generator)
    return module


def prefixed(prefix: str, state: State | None = None) -> State:
    state = filled(Net(), 1).state_dict() if state is None else state
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def write_shards(state: State, folder: Path) -> Path:
    """Two files, and the index that lists them."""
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    listed = {name: names[place % 2] for place, name in enumerate(state)}
    for file in names:
        save_file({n: t for n, t in state.items() if listed[n] == file}, folder / file)
    index = folder / INDEX
    index.write_text(json.dumps({"metadata": {}, "weight_map": listed}))
    return index


def of_submodule(state: State) -> State:
    return {name.replace("layers.", "layers._orig_mod."): t for name, t in state.items()}


OTHERS = {"step": torch.zeros(1), "optimizer.layers.0.weight.moment": torch.zeros(4, 3)}
ACCEPTED: dict[str, tuple[State, str]] = {
    "plain": (prefixed(""), ""),
    "module": (prefixed("module."), "the prefix 'module.' was taken off"),
    "compiled": (prefixed("_orig_mod."), "'_orig_mod.' was taken out"),
    "compiled part": (of_submodule(prefixed("")), "'_orig_mod.' was taken out"),
    "both": (prefixed("module._orig_mod."), "the prefix 'module.' was taken off"),
    "state_dict": (prefixed("state_dict.") | OTHERS, "'state_dict.' .*; 2 other tensors are left"),
    "part of more": (prefixed("decoder.") | prefixed("encoder.x."), "'decoder.'"),
    "average": (
        prefixed("params_ema.") | prefixed("params.", filled(Net(), 2).state_dict()),
        "the prefix 'params_ema.' was taken off the names; 7 other tensors are left out",
    ),
}
ACCEPTED["of these shapes"] = (
    prefixed("decoder.") | {n: t.new_zeros(9) for n, t in prefixed("encoder.").items()},
    "'decoder.' was taken off the names; 7 other tensors are left out",
)
# One is missing there: only the decoder's fit.
ACCEPTED["part of more"][0].pop("encoder.x.layers.0.bias")


@pytest.mark.parametrize("kind", ACCEPTED)
def test_names_that_fit_without_a_prefix(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state, said = ACCEPTED[kind]
    save_file(state, tmp_path / "weights.safetensors")
    module = Net()
    with caplog.at_level(logging.INFO, logger="export"):
        load_weights(module, "Net", tmp_path / "weights.safetensors")
    expected = filled(Net(), 1).state_dict()
    assert all(torch.equal(tensor, expected[n]) for n, tensor in module.state_dict().items())
    if said:
        (record,) = caplog.records
        assert re.search(said, record.message)
    else:
        assert not caplog.records


class Normed(nn.Sequential):
    def __init__(self, affine: bool = True) -> None:
        super().__init__(nn.BatchNorm1d(3, affine=affine), nn.Linear(3, 4))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_batch_norms_of_before_their_counter(prefix: str, affine: bool, tmp_path: Path) -> None:
    """torch takes such weights, too."""
    expected = filled(Normed(affine), 1).state_dict()
    state = {n: tensor for n, tensor in expected.items() if "num_batches" not in n}
    save_file(prefixed(prefix, state), tmp_path / "weights.safetensors")
    module = Normed(affine)
    load_weights(module, "Normed", tmp_path / "weights.safetensors")
    assert all(torch.equal(module.state_dict()[name], tensor) for name, tensor in state.items())
    (tmp_path / "less").mkdir()
    state.pop("0.running_mean")
    save_file(prefixed(prefix, state), tmp_path / "less" / "weights.safetensors")
    with pytest.raises(ExportError, match=r"missing \[.*'0.running_mean'"):
        load_weights(module, "Normed", tmp_path / "less" / "weights.safetensors")


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weight_norm_of_before_parametrizations(prefix: str, tmp_path: Path) -> None:
    """torch takes such weights, too."""
    torch.manual_seed(0)
    # Deprecated, but older files have its names.
    with pytest.warns(FutureWarning, match="weight_norm"):
        before = nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 4)), nn.Linear(4, 2))
    save_file(prefixed(prefix, before.state_dict()), tmp_path / "weights.safetensors")
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))
    module = nn.Sequential(normed, nn.Linear(4, 2))
    load_weights(module, "Sequential", tmp_path / "weights.safetensors")
    inputs = torch.randn(5, 3)
    assert torch.equal(module(inputs), before(inputs))


def test_the_shards_of_an_index_are_joined(tmp_path: Path) -> None:
    expected = filled(Net(), 1)
    index = write_shards(expected.state_dict(), tmp_path)
    module = Net()
    load_weights(module, "Net", index)
    assert all(torch.equal(t, module.state_dict()[n]) for n, t in expected.state_dict().items())
    parts = sorted(tmp_path.glob("*.safetensors"))
    whole = hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()
    assert len(parts) == 2
    assert checksum(index) == whole


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "expected the index of safetensors files, a JSON object with a weight_map: JSON"),
        ("[]", "a JSON object with a weight_map: TypeError"),
        ('{"weight_map": {"a": "b.safetensors"}}', "lists b.safetensors, which is not beside it"),
        ('{"weight_map": {"a": "../b.safetensors"}}', "weight_map: ValueError: Invalid name"),
        (f'{{"weight_map": {{"a": "{INDEX}"}}}}', f"expected safetensors files, found {INDEX}"),
        (
            '{"weight_map": {"a": "model-00001-of-00002.safetensors"}}',
            "its files do not hold ['a']: fetch them again",
        ),
    ],
)
def test_an_index_that_does_not_fit_its_shards(text: str, said: str, tmp_path: Path) -> None:
    index = write_shards(filled(Net(), 1).state_dict(), tmp_path)
    index.write_text(text)
    with pytest.raises(ExportError, match=re.escape(said)):
        load_weights(Net(), "Net", index)


REFUSED: dict[str, tuple[State, str]] = {
    "missing": (
        {n: t for n, t in prefixed("module.").items() if "bias" not in n},
        r"missing \['layers.0.bias', .* unexpected \['module.layers",
    ),
    "too many": (prefixed("") | {"layers.2.weight": torch.zeros(1)}, r"\['layers.2.weight'\]"),
    "too many under the prefix": (
        prefixed("module.") | {"module.layers.2.weight": torch.zeros(1)},
        "'module.layers.2.weight'",
    ),
    "shape": (
        prefixed("module.") | {"module.layers.0.weight": torch.zeros(3, 4)},
        r"layers.0.weight \[3, 4\] \(expected \[4, 3\]\)",
    ),
    "two that fit": (
        prefixed("first.") | prefixed("second."),
        r"found those of several that fit, under \['first.', 'second.'\]: take those",
    ),
    "quantised": (
        prefixed("") | {"layers.0.weight": torch.ones(4, 3, dtype=torch.int8)},
        r"different \['layers.0.weight of int8 \(expected floats\)'\]",
    ),
    "nothing": ({"x": torch.zeros(1)}, r"unexpected \['x'\]"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_is_named(kind: str, tmp_path: Path) -> None:
    state, message = REFUSED[kind]
    save_file(state, tmp_path / "weights.safetensors")
    with pytest.raises(ExportError, match=message):
        load_weights(Net(), "Net", tmp_path / "weights.safetensors")


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda m: torch.compile(m, backend="eager")])
def test_a_class_that_wraps_itself_takes_plain_weights(
    wrap: Callable[[nn.Module], nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(filled(Net(), 1), str(tmp_path / "weights.safetensors"))
    (tmp_path / "wrapping_nets.py").write_text("make = None\n")
    monkeypatch.syspath_prepend(tmp_path)
    import wrapping_nets  # pyright: ignore[reportMissingImports]

    wrapping_nets.make = lambda: wrap(Net())
    module = load_module("wrapping_nets:make", {}, tmp_path / "weights.safetensors")
    expected = filled(Net(), 1).state_dict()["layers.0.weight"]
    assert any(torch.equal(tensor, expected) for tensor in module.parameters())


def test_weights_that_share_memory(tmp_path: Path) -> None:
    save_model(filled(Tied(), 1), str(tmp_path / "weights.safetensors"))
    module = Tied()
    load_weights(module, "Tied", tmp_path / "weights.safetensors")
    assert torch.equal(module.second.weight, filled(Tied(), 1).first.weight)  # pyright: ignore


def pickled(state: State) -> dict[str, Any]:
    return {"epoch": 3, "g": prefixed("", filled(Net(), 2).state_dict()), "g_ema": state}


CHECKPOINTS: dict[str, tuple[Callable[[State], Any], str]] = {
    "plain": (lambda state: state, ""),
    "state_dict": (lambda state: {"state_dict": state, "epoch": 3}, "'state_dict.' was taken off"),
    "parallel": (lambda state: {"model": prefixed("module.", state)}, "'model.module.' was taken"),
    "average": (pickled, "'g_ema.' was taken off the names; 7 other tensors are left out"),
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
@pytest.mark.parametrize("suffix", PICKLES)
def test_checkpoints_of_torch_save(
    kind: str, suffix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = filled(Net(), 1).state_dict()
    file = tmp_path / f"weights{suffix}"
    torch.save(CHECKPOINTS[kind][0](state), file)
    module = Net()
    with caplog.at_level(logging.INFO, logger="export"):
        load_weights(module, "Net", file)
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())
    assert "a pickle, read by torch.load(weights_only=True): safetensors is safe" in caplog.text
    assert CHECKPOINTS[kind][1] in caplog.text


class Runs:
    """Touches a file where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


UNREADABLE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "code": (Runs, "it holds getattr.* take the weights out: state = torch.load"),
    "a module": (
        lambda _: Net(),
        r"it holds .*Net\).* state = state.state_dict\(\), then safetens",
    ),
    "no tensors": (lambda _: {"epoch": 3}, "expected a state dict, found dict without"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_pickles_of_more_than_tensors_are_refused_and_not_run(kind: str, tmp_path: Path) -> None:
    make, message = UNREADABLE[kind]
    torch.save(make(tmp_path / "run"), tmp_path / "weights.pth")
    with pytest.raises(ExportError, match=message):
        load_weights(Net(), "Net", tmp_path / "weights.pth")
    assert not (tmp_path / "run").exists()


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"not a pickle")
    with pytest.raises(
        ExportError, match=r"weights.pth: expected a checkpoint of tensors alone, fou"
    ):
        load_weights(Net(), "Net", tmp_path / "weights.pth")


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_what_stands_for_weights_is_named(tmp_path: Path) -> None:
    pointer = tmp_path / "weights.safetensors"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(ExportError, match=r"found Git LFS's note of one: fetch it"):
        load_weights(Net(), "Net", pointer)
    script = torch.jit.trace(nn.Linear(3, 4), torch.zeros(1, 3))
    torch.jit.save(script, tmp_path / "script.pt")
    with pytest.raises(ExportError, match=r"found a module in TorchScript: .* torch.jit.load"):
        load_weights(Net(), "Net", tmp_path / "script.pt")


class Lazy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LazyLinear(4), nn.BatchNorm1d(4))


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return Net()


@pytest.mark.parametrize("make", [Lazy, on_meta])
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_weights_make_modules_whole(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    save_model(filled(Net(), 1), str(tmp_path / "weights.safetensors"))
    module = make()
    load_weights(module, "Net", tmp_path / "weights.safetensors")
    expected = filled(Net(), 1).state_dict()
    assert all(torch.equal(tensor, expected[n]) for n, tensor in module.state_dict().items())
    (tmp_path / "weights.safetensors").unlink()
    save_file({"layers.0.weight": torch.zeros(4, 3)}, tmp_path / "weights.safetensors")
    with pytest.raises(ExportError, match=r"missing \['layers.0.bias', 'layers.1.bias'"):
        load_weights(make(), "Net", tmp_path / "weights.safetensors")
