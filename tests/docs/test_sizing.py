"""docs/sizing.md: its figures are those of the records, and what it computes of them is right."""

import json
import re

import pytest

from bento.settings import Settings
from runtime import limits
from tests.benchmarks.test_networks import FIXED
from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs" / "sizing.md").read_text("utf-8")
SPEED, NETWORKS = (ROOT / "benchmarks" / name / "records" for name in ("speed", "networks"))
IMAGES = 1e8

PUBLISHED = {
    "StyleGAN2 128, decode": "stylegan2-128-stylegan2-pytorch",
    "BigGAN-deep 128, decode": "biggan-deep-128-pytorch-pretrained-biggan",
    "LaMa, translate 256x256": "lama",
    "AutoencoderTiny, decode 512x512": "autoencodertiny",
    "AutoencoderKL (SD 1.5), encode 512x512": "autoencoderkl-sd-1-5",
    "AutoencoderKL (SD 1.5), decode 512x512": "autoencoderkl-sd-1-5",
}


def row(name: str) -> list[float]:
    """The numbers of a table's row."""
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {name} |")]
    cells = [cell.strip() for cell in line.strip("|").split("|")[1:]]
    return [float(re.findall(r"[\d.]+", cell.replace(",", ""))[0]) for cell in cells]


def figures(record: str) -> dict[str, dict[str, float]]:
    return json.loads((SPEED / f"{record}.json").read_text("utf-8"))["figures"]


@pytest.mark.parametrize("name", sorted(FIXED))
def test_what_a_core_makes(name: str) -> None:
    flops, both, one, hours = row(name)
    measured = figures("engines")[f"{name} x64, ours, fp32"]["value"]
    assert flops == pytest.approx(FIXED[name][1] / 1e6, rel=0.02)
    assert both == pytest.approx(measured, rel=1e-3)
    assert one == pytest.approx(measured / 2, rel=1e-3)
    assert hours == pytest.approx(IMAGES / (measured / 2) / 3600, rel=0.02)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_networks(name: str) -> None:
    record = json.loads((NETWORKS / f"{PUBLISHED[name]}.json").read_text("utf-8"))["trial"]
    graph, size = re.findall(r"(\w+)(?: (\d+x\d+))?$", name.partition(", ")[2])[0]
    measured = record["images/s"][f"{graph} {size}"]
    (threads,) = re.findall(r"(\d+) threads? a run", record["engine"])
    speed, cores, memory, hours = row(name)
    assert speed == pytest.approx(measured, rel=0.01)
    assert cores == int(threads)
    assert memory == pytest.approx(record["bytes"] / 1e9, abs=0.06)
    assert hours == pytest.approx(IMAGES * cores / measured / 3600, rel=0.001)


def test_workers() -> None:
    digit, digits, images, image = (
        f"{figures('workers')[f'{load}, 2 workers']['ratio']:.2f}"
        for load in (
            "mnist-vae n=1 PNG, 64 connections",
            "mnist-vae n=64 npy, 8 connections",
            "dcgan64 n=64 npy, 8 connections",
            "dcgan64 n=1 PNG, 64 connections",
        )
    )
    alone = figures("small")["mnist-vae n=1 PNG, 64 connections, ours, one worker"]["value"]
    assert f"({alone:,.0f} were measured" in PAGE
    assert f"{digit} of its images/s for one 28x28 PNG" in PAGE
    assert f"{digits} (28x28) and {images} (64x64) for 64 images a request" in PAGE
    assert f"{image} for one 64x64 PNG" in PAGE


def test_shares_over_http_and_the_memory_of_the_service() -> None:
    ratios = [
        figures("serving")[f"{subject}, ours"]["ratio"]
        for subject in (
            "dcgan64 n=64 npy, 8 connections",
            "dcgan64 n=1 PNG, 128 connections",
            "dcgan64 n=1 PNG, 32 connections",
            "vae32 encode of 64, 8 connections",
        )
    ]
    many, encoding = f"{ratios[0]:.2f}", f"{ratios[3]:.2f}"
    least, most = (f"{ratio:.2f}" for ratio in sorted(ratios[1:3]))
    assert f"{many} for many images a request" in PAGE
    assert f"{least} to {most} for one 64x64 PNG" in PAGE
    assert f"{encoding} for encoding 64 pictures" in PAGE
    ready = figures("startup")["resident memory when ready, megabytes"]["value"]
    assert f"ready | {ready:.0f} MB |" in PAGE
    start = figures("startup")["start to ready, seconds"]["value"]
    assert f"Later starts take about {start:.1f} s with" in PAGE


def test_what_it_says_of_limits_is_so() -> None:
    settings = Settings()
    assert limits.RUN_BYTES == 128 << 20
    assert settings.memory_bytes == 1 << 30
    assert settings.load_bytes == 8 << 30
    assert 22 * settings.max_pixels == pytest.approx(1.5e9, rel=0.02)
    for name in re.findall(r"LATENTSERVE_(\w+)", PAGE):
        assert name.lower() in Settings.model_fields


def test_its_examples_are_computed_right() -> None:
    _, _, one, hours = row("dcgan64 decode")
    http = (
        figures("serving")[f"dcgan64 n=1 PNG, {connections} connections, ours"]["ratio"]
        for connections in (32, 128)
    )
    share = round(sum(http) / 2, 2)
    cores = 2000 / (one * share * 0.7)
    assert f"2000 / ({one:.0f} x {share} x 0.7) = {cores:.1f} cores, so four replicas" in PAGE
    assert 6 < cores < 8
    assert f"dcgan64's {hours:.0f} core-hours are {hours / 64 * 60:.0f} minutes on 64 cores" in PAGE
    assert f"64 images of dcgan64 take a core {64 / one:.2f} s" in PAGE
    encoding = {
        name: figures("encoding")[f"{name}, ours, png"]["value"]
        for name in ("32x32 RGB (frogs)", "64x64 RGB (dcgan64)")
    }
    for microseconds, said in zip(encoding.values(), ("31", "71"), strict=True):
        assert f"{microseconds:.0f}" == said
    assert [round(IMAGES * us / 1e6 / 3600, 1) for us in encoding.values()] == [0.9, 2.0]
