"""The picture at the top of the README, and what is said of it there."""

import numpy as np

from benchmarks.quality import gallery
from runtime.artifact.reading import read_artifact
from tests.docs.blocks import ROOT


def test_the_readme_says_what_the_rows_were_asked_for() -> None:
    text = " ".join((ROOT / "README.md").read_text("utf-8").split())
    assert [prompt for prompt in gallery.PROMPTS if f'"{prompt}"' not in text] == []


def test_the_furniture_is_two_of_each_kind_as_the_readme_says() -> None:
    manifest = read_artifact(ROOT / "artifacts" / "furniture-vae" / "1").manifest
    assert [*gallery.FURNITURE] == [*(manifest.labels or ())]
    assert {len({*seeds}) for seeds in gallery.FURNITURE.values()} == {2}
    assert {seed for seeds in gallery.FURNITURE.values() for seed in seeds} <= {*range(12)}


def test_between_panels_are_gaps_of_one_width() -> None:
    panels = [np.zeros((4, width, 3), np.uint8) for width in (8, 5, 6)]
    row = gallery._beside(panels, axis=1)
    white = np.nonzero((row == 255).all(axis=(0, 2)))[0]
    expected = [*range(8, 8 + gallery.GAP), *range(13 + gallery.GAP, 13 + 2 * gallery.GAP)]
    assert white.tolist() == expected
