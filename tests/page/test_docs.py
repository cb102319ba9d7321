"""The API reference at /docs: every operation, executed with every example."""

import math
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from benchmarks.speed.servers import Running
from tests.page.browser import Browser
from tests.page.conftest import Open
from tests.page.swagger import execute, open_operation, press

GROUPS = ("_v1_", "_v2", "_remote_vae_", "-get_", "-post_")
"""Parts of the names of operations; each belongs to the first that it contains."""
_EXAMPLES = ".opblock-section-request-body .examples-select-element"

Json = dict[str, Any]


@pytest.fixture
def operations(served: Running) -> dict[str, Json]:
    """What the description says of each operation, by the name that Swagger UI gives it."""
    paths: dict[str, Json] = httpx.get(f"{served.url}/openapi.json").json()["paths"]
    return {
        "operations-default-" + re.sub(r"\W", "_", f"{method}{path}"): operation
        for path, methods in paths.items()
        for method, operation in methods.items()
    }


@pytest.mark.parametrize("group", GROUPS)
def test_every_operation_answers_every_example(
    open_page: Open, operations: dict[str, Json], picture: Path, tmp_path: Path, group: str
) -> None:
    page = open_page()
    page.driver.get(f"{page.url}/docs")
    page.one(".opblock")
    assert {block.get_attribute("id") for block in page.all(".opblock")} == set(operations)
    names = [n for n in operations if next(g for g in GROUPS if g in n) == group]
    refused: list[str] = []
    for name in names:
        block = open_operation(page, name)
        _give_files(page, block, _tensor(operations[name], tmp_path) or picture)
        for title in _examples(operations[name]) or [None]:
            if title is not None:
                Select(block.find_element(By.CSS_SELECTOR, _EXAMPLES)).select_by_visible_text(title)
            status = execute(page, block, f"a reply of {name}, {title!r}")
            if not status.startswith("2"):
                refused.append(f"{name}, {title!r}: {status}")
        press(page, block, ".opblock-summary-control")
    assert names
    assert refused == []
    assert page.errors() == []
    assert all(a.startswith((f"{page.url}/", "blob:", "data:")) for a in page.requests())


def _examples(operation: Json) -> list[str]:
    """The titles of the examples of its JSON body."""
    content: Json = operation.get("requestBody", {}).get("content", {})
    return list(content.get("application/json", {}).get("examples", {}))


def _tensor(operation: Json, folder: Path) -> Path | None:
    """A file of float32 of the shape of which the operation speaks, if it does."""
    given = (p.get("example") for p in operation.get("parameters", []) if p["name"] == "shape")
    shape = next(given, None)
    if shape is None:
        return None
    path = folder / "tensor.bin"
    path.write_bytes(bytes(4 * math.prod(shape)))
    return path


def _give_files(page: Browser, block: WebElement, file: Path) -> None:
    """The file wherever the operation needs one."""
    rows = block.find_elements(By.CSS_SELECTOR, "[data-property-name]")
    for row in rows:
        needed = row.find_elements(By.CSS_SELECTOR, ".required")
        adding = row.find_elements(By.CSS_SELECTOR, ".json-schema-form-item-add")
        if needed and adding:
            adding[0].click()
            page.until(lambda row=row: row.find_elements(By.CSS_SELECTOR, "input[type=file]"))
        for field in row.find_elements(By.CSS_SELECTOR, "input[type=file]") if needed else ():
            field.send_keys(str(file))
    if not rows:  # the body is the file
        for field in block.find_elements(By.CSS_SELECTOR, "input[type=file]"):
            field.send_keys(str(file))
