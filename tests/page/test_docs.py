"""The API reference at /docs: every operation, executed with every example."""

import math
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from tests.page.browser import Browser
from tests.page.conftest import Open
from tests.page.swagger import execute, open_operation, press

_EXAMPLES = ".opblock-section-request-body .examples-select-element"


@pytest.fixture
def docs(open_page: Open) -> Browser:
    page = open_page()
    page.driver.get(f"{page.url}/docs")
    page.one(".opblock")
    return page


@pytest.fixture
def tensor(docs: Browser, tmp_path: Path) -> Path:
    """The latent of which the description of /remote_vae/{model}/decode speaks."""
    paths: dict[str, Any] = httpx.get(f"{docs.url}/openapi.json").json()["paths"]
    parameters = paths["/remote_vae/{model}/decode"]["post"]["parameters"]
    shape = next(p["example"] for p in parameters if p["name"] == "shape")
    path = tmp_path / "latent.bin"
    path.write_bytes(bytes(4 * math.prod(shape)))
    return path


def test_every_operation_answers_every_example(docs: Browser, picture: Path, tensor: Path) -> None:
    names = [block.get_attribute("id") or "" for block in docs.all(".opblock")]
    refused: list[str] = []
    count = 0
    for name in names:
        block = open_operation(docs, name)
        examples = block.find_elements(By.CSS_SELECTOR, _EXAMPLES)
        titles = [option.text for option in Select(examples[0]).options] if examples else [""]
        for title in titles:
            if title:
                Select(block.find_element(By.CSS_SELECTOR, _EXAMPLES)).select_by_visible_text(title)
            if title == titles[0]:
                _give_files(docs, block, tensor if "model__decode" in name else picture)
            status = execute(docs, block, f"a reply of {name}, {title!r}")
            count += 1
            if not status.startswith("2"):
                refused.append(f"{name}, {title!r}: {status}")
        press(docs, block, ".opblock-summary-control")
    assert refused == []
    described = docs.run(
        "return fetch('openapi.json').then(r => r.json()).then(d =>"
        " Object.values(d.paths).flatMap(p => Object.keys(p)).length)"
    )
    assert len(names) == described
    assert count > len(names)
    assert docs.errors() == []
    assert all(a.startswith((f"{docs.url}/", "blob:", "data:")) for a in docs.requests())


def _give_files(page: Browser, block: WebElement, picture: Path) -> None:
    """A picture wherever the operation needs a file."""
    rows = block.find_elements(By.CSS_SELECTOR, "[data-property-name]")
    for row in rows:
        needed = row.find_elements(By.CSS_SELECTOR, ".required")
        adding = row.find_elements(By.CSS_SELECTOR, ".json-schema-form-item-add")
        if needed and adding:
            adding[0].click()
            page.until(lambda row=row: row.find_elements(By.CSS_SELECTOR, "input[type=file]"))
        for field in row.find_elements(By.CSS_SELECTOR, "input[type=file]") if needed else ():
            field.send_keys(str(picture))
    if not rows:  # the body is the file
        for field in block.find_elements(By.CSS_SELECTOR, "input[type=file]"):
            field.send_keys(str(picture))
