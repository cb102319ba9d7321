"""docs/index.md: the figures of the first page are those of the records."""

import json
import re
from typing import Any

from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs" / "index.md").read_text("utf-8")
RECORDS = ROOT / "benchmarks"
OPENVINO_BF16 = "OpenVINO, as it comes"
"""As the processor of the record has bf16."""


def row(begins: str) -> str:
    """A row of the table of figures."""
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| [{begins}]")]
    return line


def speed(record: str) -> dict[str, dict[str, Any]]:
    return json.loads((RECORDS / f"speed/records/{record}.json").read_text("utf-8"))["figures"]


def test_engines() -> None:
    found = speed("engines")
    ours, plain, eager = (
        found[f"dcgan64 decode x64, {variant}"]["value"]
        for variant in ("ours, fp32", "ONNX Runtime, default threads", "torch eager")
    )
    assert f"| {ours:.0f} images/s |" in row("DCGAN at 64x64")
    assert f"it comes {plain:.0f}, torch eager {eager:.0f} |" in row("DCGAN at 64x64")


def test_serving() -> None:
    found = speed("serving")
    ours, lit, bento = (
        found[f"dcgan64 n=1 PNG, 128 connections, {variant}"]["value"]
        for variant in ("ours", "LitServe", "BentoML adaptive batching")
    )
    line = row("One 64x64 PNG a request")
    assert f"| {ours:.0f} images/s |" in line
    assert f"LitServe {lit:.0f}, BentoML with adaptive batching {bento:.0f} |" in line


def test_diffusion() -> None:
    found = speed("diffusion")
    ours, onnx, eager, openvino, halved = (
        found[f"AutoencoderKL (SD 1.5) decode 256x256, {variant}"]["value"]
        for variant in ("ours, fp32", "ONNX Runtime", "eager", "OpenVINO, fp32", OPENVINO_BF16)
    )
    line = row("Stable Diffusion's autoencoder")
    assert f"| {ours:.2f} images/s |" in line
    assert f"ONNX Runtime {onnx:.2f}, torch eager {eager:.2f}, OpenVINO {openvino:.2f} " in line
    assert f"(as it comes, in bf16, {halved:.2f}) |" in line


def test_memory_and_start() -> None:
    grown = speed("memory")["vae32 stream(1000000), ours"]["value"]
    assert f"| memory grows by {grown:.1f} MB |" in row("A million images")
    found = speed("startup")
    seconds = found["start to ready, seconds"]["value"]
    megabytes = found["resident memory when ready, megabytes"]["value"]
    assert f"| {seconds:.1f} s, {megabytes:.0f} MB |" in row("Start of the service")


def test_reliability() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    (clients,) = re.findall(r"^(\d+) clients send requests with mixed", page, re.MULTILINE)
    (images,) = re.findall(r"\| images compared \| (\d+) \|", page)
    (wrong,) = re.findall(r"\| wrong or swapped replies \| (\d+) \|", page)
    assert f"| {int(images):,} images, {wrong} wrong |" in row(f"{clients} clients at once")


def test_likelihood() -> None:
    record = json.loads((RECORDS / "results/records/mnist_vae_binary.json").read_text("utf-8"))
    line = row("VAE on binary MNIST")
    assert f"| {record['measurements'][0]['figures']['iw_5000']:.2f} nats |" in line
    published = re.findall(r"published: ([\d.]+ to [\d.]+)", line)
    assert published
    assert f"- published: {published[0]} (" in (ROOT / "docs/results.md").read_text("utf-8")


def test_gpus_are_said_to_be_unmeasured_as_long_as_they_are() -> None:
    unmeasured = "| none | not measured |" in (ROOT / "docs" / "gpu.md").read_text("utf-8")
    assert unmeasured == ("On GPUs nothing has been measured yet." in PAGE)
