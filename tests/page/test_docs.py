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

_EXAMPLES = ".opblock-section-request-body .examples-select-element"
_STATUS = ".live-responses-table tbody .response-col_status"


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
        block = docs.one(f"[id='{name}']")
        _press(docs, block, ".opblock-summary-control")
        _press(docs, block, ".try-out__btn")
        examples = block.find_elements(By.CSS_SELECTOR, _EXAMPLES)
        titles = [option.text for option in Select(examples[0]).options] if examples else [""]
        for title in titles:
            if title:
                Select(block.find_element(By.CSS_SELECTOR, _EXAMPLES)).select_by_visible_text(title)
            if title == titles[0]:
                _give_files(docs, block, tensor if "model__decode" in name else picture)
            status = _execute(docs, block, f"a reply of {name}, {title!r}")
            count += 1
            if not status.startswith("2"):
                refused.append(f"{name}, {title!r}: {status}")
        _press(docs, block, ".opblock-summary-control")
    assert refused == []
    described = docs.run(
        "return fetch('openapi.json').then(r => r.json()).then(d =>"
        " Object.values(d.paths).flatMap(p => Object.keys(p)).length)"
    )
    assert len(names) == described
    assert count > len(names)
    assert docs.errors() == []
    assert all(a.startswith((f"{docs.url}/", "blob:", "data:")) for a in docs.requests())


def _press(page: Browser, block: WebElement, css: str) -> None:
    def pressed() -> bool:
        for button in block.find_elements(By.CSS_SELECTOR, css):
            page.run("arguments[0].scrollIntoView({block: 'center'})", button)
            button.click()
            return True
        return False

    page.until(pressed, css)


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


def _execute(page: Browser, block: WebElement, what: str) -> str:
    """The status of the reply, once it is there."""
    for clear in block.find_elements(By.CSS_SELECTOR, ".btn-clear"):
        clear.click()
    page.until(lambda: not block.find_elements(By.CSS_SELECTOR, _STATUS))
    _press(page, block, ".execute")

    def status() -> str:
        found = block.find_elements(By.CSS_SELECTOR, _STATUS)
        return found[0].text.strip() if found else ""

    return page.until(status, what)
