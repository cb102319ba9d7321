"""Modules as other people's code leaves them: exported and right, or told what to do."""

import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

import runtime
from export import ExportError, ImageSpec, export

IMAGE = ImageSpec(height=2, width=2, channels=3)
BATCHES = (1, 5, 64)


class Net(nn.Module):
    """Latents [B, 4] -> images [B, 3, 2, 2] in (-1, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 12)

    def forward(self, z: Tensor) -> Any:
        return torch.tanh(self.layer(z)).view(-1, 3, 2, 2)


class Repeats(Net):
    def __init__(self) -> None:
        super().__init__()
        self.const = nn.Parameter(torch.randn(1, 3, 2, 2))

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(self.const.repeat(z.shape[0], 1, 1, 1) * super().forward(z))


class InPlace(Net):
    """It changes the latents that it is given."""

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z.mul_(0.5))


class Locked(Net):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.cache = {"locks": [threading.Lock()]}

    def forward(self, z: Tensor) -> Tensor:
        with self.lock:
            return super().forward(z)


class Streams(Net):
    def __init__(self) -> None:
        super().__init__()
        self.numbers = (i for i in range(3))


class Counts(Net):
    """Changes itself in eval mode, and keeps what it made last."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.seen = nn.Buffer(torch.zeros(()))

    def forward(self, z: Tensor) -> Tensor:
        self.calls += 1
        self.seen += 1
        self.last = super().forward(z)
        return self.last


class Phases(Net):
    def __init__(self) -> None:
        super().__init__()
        self.phases = nn.Buffer(torch.randn(4, dtype=torch.complex64))

    def forward(self, z: Tensor) -> Tensor:
        return super().forward((z * self.phases).abs())


class Compiled(Net):
    @torch.compile(backend="eager")
    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z)


class WithoutGradients(Net):
    @torch.inference_mode()
    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z)


def used(module: nn.Module) -> nn.Module:
    """In train mode, after a step of a training loop."""
    module.train()
    module(torch.randn(3, 4, requires_grad=True)).sum().backward()
    return module


def hooked() -> nn.Module:
    module, seen = Net(), []
    vars(module)["seen"] = seen  # held by the module, as tensors with a history
    module.layer.register_forward_hook(lambda _m, _i, made: seen.append(made))
    module.layer.register_full_backward_hook(lambda *_: None)
    return used(module)


def scripted() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(Plain())


class Plain(nn.Module):
    """One that TorchScript can read."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 12)

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(self.layer(z)).view(-1, 3, 2, 2)


def traced() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.trace(Plain().eval(), torch.randn(2, 4))


def pruned() -> nn.Module:
    module = Net()
    prune.l1_unstructured(module.layer, "weight", amount=0.5)
    return used(module)


def normed(norm: Callable[[nn.Module], nn.Module]) -> nn.Module:
    module = Net()
    norm(module.layer)  # in place
    return used(module)


def compiled_in_place() -> nn.Module:
    module = Net()
    module.compile(backend="eager")
    return module


def half() -> nn.Module:
    class Casts(Net):
        def forward(self, z: Tensor) -> Tensor:
            return super().forward(z.to(self.layer.weight.dtype))

    return Casts().half()


def nested() -> nn.Module:
    inner: Any = torch.compile(Net(), backend="eager")
    return nn.Sequential(nn.DataParallel(nn.Identity()), inner)


EXPORTED: dict[str, Callable[[], Any]] = {
    "repeat": Repeats,
    "script": scripted,
    "trace": traced,
    "lock": Locked,
    "generator": Streams,
    "counts": Counts,
    "complex buffer": Phases,
    "compiled": lambda: torch.compile(Net(), backend="eager"),
    "compiled in place": compiled_in_place,
    "compiled forward": Compiled,
    "data parallel": lambda: nn.DataParallel(Net()),
    "nested wrappers": nested,
    "moving average": lambda: torch.optim.swa_utils.AveragedModel(Net()),
    "inference mode": WithoutGradients,
    "hooks": hooked,
    "pruned": pruned,
    "spectral norm": lambda: normed(parametrizations.spectral_norm),
    "weight norm": lambda: normed(parametrizations.weight_norm),
    "orthogonal": lambda: normed(parametrizations.orthogonal),
    "in place": InPlace,
    "half": half,
    "double": lambda: nn.Sequential(Net().double()),
}


def exported(decode: Any, folder: Path, **options: Any) -> Path:
    given: dict[str, Any] = {"latent": 4, "image": IMAGE, "name": "theirs", "precisions": ()}
    return export(decode=decode, out=folder, batches=(1, 16), **given | options)


def check_images(artifact: Path, module: Callable[[Tensor], Tensor]) -> None:
    """At every batch the artifact's images are the module's."""
    with runtime.load(artifact, backend="onnxruntime", precision="fp32") as model:
        for batch in BATCHES:
            latents = np.random.default_rng(batch).standard_normal((batch, 4)).astype(np.float32)
            with torch.no_grad():
                floats = module(torch.tensor(latents)).float()
            levels = (floats + 1).mul(127.5).permute(0, 2, 3, 1).round().clamp(0, 255).numpy()
            assert np.abs(model.decode(latents).astype(int) - levels).max() <= 1


@pytest.mark.parametrize("kind", EXPORTED)
def test_modules_of_all_kinds_are_exported(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = EXPORTED[kind]()
    training = module.training
    artifact = exported(module, tmp_path)
    assert module.training == training
    if kind in ("half", "double"):
        module = module.float()
    check_images(artifact, module.eval())


class KeywordOnly(Net):
    def forward(self, *, z: Tensor) -> Tensor:
        return super().forward(z)


class Lazy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LazyLinear(12)

    def forward(self, z: Tensor) -> Tensor:
        return self.layer(z).view(-1, 3, 2, 2)


class NoCopy(Net):
    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        raise RuntimeError("there can be only one")


class NoEval(Net):
    def train(self, mode: bool = True) -> Any:
        raise RuntimeError("never")


class Casts(Net):
    def forward(self, z: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(z).float()


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return Net()


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "meta": (on_meta, "layer.weight: expected a weight, found none: it is on the meta device"),
    "lazy": (Lazy, "layer.weight: .* lazy module .* call the module once"),
    "keywords": (KeywordOnly, r"takes 1 positional argument .*called with these, by position"),
    "no copy": (NoCopy, "NoCopy cannot be copied: RuntimeError: there can be only one"),
    "no eval": (NoEval, "NoEval cannot be copied: RuntimeError: never"),
    "autocast": (Casts, "found bfloat16: take autocast .* out of forward"),
    "function": (lambda: torch.tanh, "expected a torch.nn.Module, found builtins"),
    "class": (lambda: Net, "expected a torch.nn.Module, found the class Net"),
    "state": (lambda: Net().state_dict(), "expected a torch.nn.Module, found collections"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_what_cannot_be_exported_says_what_to_do(kind: str, tmp_path: Path) -> None:
    make, message = REFUSED[kind]
    with pytest.raises(ExportError, match=message):
        exported(make(), tmp_path)
    assert list(tmp_path.iterdir()) == []


@dataclass
class DecoderOutput:
    """As diffusers' decoders give it; None where there is nothing to give."""

    sample: Tensor
    commit_loss: Tensor | None = None


@dataclass
class TwoImages:
    image: Tensor
    preview: Tensor


OUTPUTS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "tuple of one": (lambda x: (x,), ""),
    "list of one": (lambda x: [x], ""),
    "dict of one": (lambda x: {"image": x}, ""),
    "dataclass of one": (lambda x: DecoderOutput(sample=x), ""),
    "dict of two": (
        lambda x: {"image": x, "mask": x[:, :1]},
        r"expected one tensor \(images\), found a dict of image float32 \[16, 3, 2, 2\], mask "
        r"float32 \[16, 1, 2, 2\]: wrap the decoder in a module .* return made\['image'\]",
    ),
    "dataclass of two": (lambda x: TwoImages(x, x), r"a TwoImages of .* return made.image"),
    "tuple of two": (
        lambda x: (x, x),
        r"found a tuple of 2: .*return self.module\(\*inputs\)\[0\]",
    ),
    "nothing": (lambda x: None, r"expected one tensor \(images\), found a NoneType"),
    "empty": (lambda x: {}, "found a dict of nothing"),
    "text": (lambda x: "images", "found a str"),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_outputs_of_all_kinds(kind: str, tmp_path: Path) -> None:
    class Wrapped(Net):
        def forward(self, z: Tensor) -> Any:
            return OUTPUTS[kind][0](super().forward(z))

    torch.manual_seed(0)
    module, message = Wrapped(), OUTPUTS[kind][1]
    if message:
        with pytest.raises(ExportError, match=message):
            exported(module, tmp_path)
        return
    layer = module.layer
    check_images(exported(module, tmp_path), lambda z: torch.tanh(layer(z)).view(-1, 3, 2, 2))


def test_a_translators_output_is_named(tmp_path: Path) -> None:
    class Doubles(nn.Module):
        def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
            super().__init__()
            self.wrap = wrap

        def forward(self, x: Tensor) -> Any:
            return self.wrap(x.repeat_interleave(2, 2).repeat_interleave(2, 3))

    given: dict[str, Any] = {"image": IMAGE, "out": tmp_path, "precisions": (), "batches": (1, 4)}
    made = Doubles(lambda x: DecoderOutput(sample=x))
    assert export(translate=made, name="doubles", **given).name == "1"
    for wrap, message in {
        lambda x: {"a": x, "b": x}: r"translate: expected one tensor \(images\), found a dict of a",
        lambda x: x[0]: r"translate: expected images \[B, C, H, W\] .* found \[3, 4, 4\]",
    }.items():
        with pytest.raises(ExportError, match=message):
            export(translate=Doubles(wrap), name="refused", **given)
