"""What the pages say of the artifacts that ship is what these say of themselves."""

import re

import pytest

from runtime.artifact.reading import find_artifact, read_artifact
from tests.docs.blocks import PAGES, ROOT, read_blocks


@pytest.mark.parametrize("page", ["artifact.md", "training.md", "tutorials/pictures.md"])
def test_the_time_of_the_emoji_is_the_recorded_one(page: str) -> None:
    manifest = read_artifact(find_artifact(ROOT / "artifacts" / "twemoji")).manifest
    record = manifest.provenance.details
    text = " ".join((ROOT / "docs" / page).read_text("utf-8").split())
    (told,) = re.findall(r"17,298 steps.{,30}? (\d\.\d) hours", text)
    assert record["steps"] == 17298
    assert told == f"{float(str(record['seconds'])) / 3600:.1f}"


@pytest.mark.parametrize("page", ["README.md", "docs/artifact.md", "docs/http.md"])
def test_the_form_of_prompts_is_told(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    assert re.search(r"a size.+a brightness.+a shape.+a place", text, re.DOTALL)
    assert "smudge" in text


def test_commands_on_models_that_ship_are_run() -> None:
    shipped = {folder.name for folder in (ROOT / "artifacts").iterdir() if folder.is_dir()}
    skipped = {
        f"{block}: {name}"
        for page in PAGES
        for block in read_blocks(page)
        if block.reason == "needs another model"
        for name in shipped
        if f"model={name}&" in block.code
    }
    assert not skipped


def test_no_page_counts_the_models_wrongly() -> None:
    count = sum(folder.is_dir() for folder in (ROOT / "artifacts").iterdir())
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    for page in ("tutorials/serve.md", "index.md"):
        text = (ROOT / "docs" / page).read_text("utf-8")
        for told in re.findall(rf"\b({'|'.join(words)}) models\b", text, re.IGNORECASE):
            assert words.index(told.lower()) == count, page
