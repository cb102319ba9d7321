"""`python -m export`, as a user with a project of their own runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import export
import runtime
from export.__main__ import main
from runtime.artifact.reading import read_artifact

pytestmark = pytest.mark.xdist_group("cli")

NETS = """
import torch
from torch import nn

class Decoder(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(2, width, 3, padding=1), nn.Conv2d(width, 3, 1))

    def forward(self, z):
        return torch.sigmoid(6 * self.layers(z))

class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.layers(x).chunk(2, dim=1)

def not_a_module():
    return 7

def leaves():
    raise SystemExit(3)
"""
HOSTILE = "raise SystemExit('the train.py of the user was imported')\n"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: networks, weights, and a train.py that nobody may import."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "their_nets.py").write_text(NETS)
    (folder / "train.py").write_text(HOSTILE)
    (folder / "their_broken_nets.py").write_text("raise RuntimeError('no GPU here\\nat all')")
    (folder / "their_script.py").write_text("import sys; sys.exit('usage')")
    torch.manual_seed(0)
    layers = {"0": torch.nn.Conv2d(2, 5, 3), "1": torch.nn.Conv2d(5, 3, 1)}
    weights = {f"layers.{k}.{n}": t for k, m in layers.items() for n, t in m.state_dict().items()}
    save_file(weights, folder / "decoder.safetensors")
    encoder = torch.nn.Conv2d(3, 4, 1).state_dict()
    save_file({f"layers.{n}": t for n, t in encoder.items()}, folder / "encoder.safetensors")
    return folder


def arguments(**changes: str | None) -> list[str]:
    """The command line of a good export; `changes` replace or (None) leave out options."""
    options = {
        "weights": "decoder.safetensors",
        "params": '{"width": 5}',
        "latent": "2x8x8",
        "image": "8x8x3",
        "value-range": "0 1",
        "batches": "1,4",
        "name": "theirs",
        "out": "artifacts",
    }
    options |= {name.replace("_", "-"): value for name, value in changes.items()}
    decoder = options.pop("decoder", "their_nets:Decoder")
    words = ["module", str(decoder)]
    for name, value in options.items():
        if value is not None:
            values = value.split() if name == "value-range" else [value]
            words += [f"--{name}", *values]
    return words


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="session")
def artifact(project: Path) -> Path:
    done = python(project, "-m", "export", *arguments(labels=None, licence="MIT"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        "artifacts/theirs/1\n  decode fp32: differs from the torch module by at most"
    )
    assert "at batches 1, 3, 4, images' std " in done.stdout
    assert done.stderr.splitlines()[0] == "decode: checking the network on 16 images"
    return project / "artifacts" / "theirs" / "1"


def test_a_module_of_ones_own_beside_a_file_called_train(artifact: Path, project: Path) -> None:
    manifest = read_artifact(artifact).manifest
    assert manifest.provenance.source == "module their_nets:Decoder"
    assert len(manifest.provenance.details["weights SHA-256"]) == 64
    assert manifest.image().shape == (8, 8, 3)
    assert manifest.licence == "MIT"
    with runtime.load(artifact) as model:
        images = model.sample(3, seed=5)
        latents = torch.from_numpy(model.latents(3, seed=5))
    weights = load_file(project / "decoder.safetensors")
    hidden = torch.nn.functional.conv2d(
        latents, weights["layers.0.weight"], weights["layers.0.bias"], padding=1
    )
    floats = torch.nn.functional.conv2d(
        hidden, weights["layers.1.weight"], weights["layers.1.bias"]
    )
    expected = 255 * torch.sigmoid(6 * floats).permute(0, 2, 3, 1)
    # Half a grey level from rounding, and one where float32 sums differ around a half.
    assert (torch.from_numpy(images).float() - expected).abs().max() < 1.01


def test_weights_under_a_prefix_are_taken_and_it_is_said(artifact: Path, project: Path) -> None:
    plain = load_file(project / "decoder.safetensors")
    save_file({f"module.{n}": t for n, t in plain.items()}, project / "parallel.safetensors")
    out = arguments(weights="parallel.safetensors", name="prefixed")
    done = python(project, "-m", "export", *out)
    assert done.returncode == 0, done.stderr
    assert "parallel.safetensors: the prefix 'module.' was taken off the names" in done.stderr
    other = project / "artifacts" / "prefixed" / "1" / "decode.onnx"
    assert other.read_bytes() == (artifact / "decode.onnx").read_bytes()


def test_another_process_gives_the_same_bytes_and_the_next_version(
    artifact: Path, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.syspath_prepend(project)
    assert main(arguments(encoder="their_nets:Encoder", encoder_weights="encoder.safetensors")) == 0
    assert capsys.readouterr().out.startswith("artifacts/theirs/2\n")
    again = artifact.with_name("2")
    for file in ("decode.onnx", "samples.png"):
        assert (again / file).read_bytes() == (artifact / file).read_bytes(), file
    with runtime.load(again) as model:
        assert model.encode(model.sample(2, seed=0)).mean.shape == (2, 2, 8, 8)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"weights": "none.safetensors"}, "none.safetensors: expected a safetensors file, found"),
        ({"weights": "their_nets.py"}, "their_nets.py: expected a safetensors file, found some"),
        ({"weights": "encoder.safetensors"}, "do not fit their_nets:Decoder: missing ['layers.0.b"),
        ({"weights": "encoder.safetensors"}, "unexpected ['layers.bias', 'layers.weight']"),
        ({"params": '{"width": 6}'}, "layers.0.bias [5] (expected [6])"),
        ({"params": None}, "their_nets:Decoder: cannot be built with {} (--params): TypeError"),
        ({"decoder": "their_nets"}, "their_nets: expected package.module:Class"),
        ({"decoder": "./their_nets.py:Decoder"}, "expected package.module:Class"),
        ({"decoder": "their_nets:Decodr"}, "their_nets:Decodr: cannot be imported"),
        ({"decoder": "no_such_nets:Decoder"}, "No module named 'no_such_nets'"),
        ({"decoder": "their_nets:not_a_module", "params": None}, "expected a torch.nn.Module, f"),
        ({"decoder": "their_broken_nets:Decoder"}, "cannot be imported: RuntimeError: no GPU here"),
        ({"decoder": "their_script:Decoder"}, "cannot be imported: SystemExit: usage"),
        ({"decoder": "their_nets:leaves", "params": None}, "SystemExit: 3"),
        ({"image": "8x8x5"}, "--image, --value-range: channels: Input should be 1, 2, 3 or 4"),
        ({"image": "8x8"}, "--image, --value-range: channels: Field required"),
        ({"value_range": "1 0"}, "expected (low, high) with low < high"),
        ({"latent": "2x8x9"}, "decode: images: expected a float tensor of shape [16, 3, 8, 8]"),
        ({"version": "1"}, "theirs/1: exists already"),
    ],
)
def test_errors_are_one_line_and_status_2(
    artifact: Path,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str | None],
    expected: str,
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.syspath_prepend(project)
    before = sorted(project.rglob("*.onnx"))
    assert main(arguments(**changes)) == 2
    message = capsys.readouterr().err
    assert message.startswith("ExportError: ")
    assert message.count("\n") == 1
    assert expected in message
    assert sorted(project.rglob("*.onnx")) == before


@pytest.mark.parametrize("option", ["latent=4,4", "params=[1]", "params={", "batches=1,x"])
def test_options_that_cannot_be_read(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, _, value = option.partition("=")
    with pytest.raises(SystemExit) as caught:
        main(arguments(**{name: value}))
    assert caught.value.code == 2
    assert f"argument --{name}: expected" in capsys.readouterr().err


def test_a_run_needs_our_train_not_the_users(project: Path) -> None:
    done = python(project, "-m", "export", "run", "runs/x")
    assert done.returncode == 2
    assert "expected latentserve's package `train`, found" in done.stderr
    assert "train.py" in done.stderr
    assert "imported" not in done.stderr


def test_every_public_name_exists() -> None:
    assert sorted(export.__all__) == export.__all__
    assert all(hasattr(export, name) for name in export.__all__)


def test_import_export_is_light(project: Path) -> None:
    heavy = "'torch', 'train', 'onnx', 'onnxruntime', 'bentoml'"
    done = python(
        project, "-c", f"import export, sys; print([m for m in ({heavy}) if m in sys.modules])"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
