"""The API reference at /docs: every operation, executed by its button, with its last example. A
browser takes a second for each: the others are sent without one."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from benchmarks.speed.servers import Running
from tests.bento.executed import executed
from tests.page.browser import Browser
from tests.page.conftest import close_page, new_page
from tests.page.swagger import choose_example, examples_of, execute, open_operation, press

GROUPS = ("_v1_", "_v2", "_remote_vae_", "-get_", "-post_")
"""Parts of the names of operations; each belongs to the first that it contains."""

_TOGGLE = """
for (const part of document.querySelectorAll(".opblock-tag-section")) {
  const operations = [...part.querySelectorAll(".opblock")].map((e) => e.id);
  if (!operations.some((id) => arguments[0].includes(id))) part.querySelector("h3").click();
}
"""

Json = dict[str, Any]


@pytest.fixture(scope="module")
def operations(served: Running) -> dict[str, Json]:
    """What the description says of each operation, by the name that Swagger UI gives it."""
    paths: dict[str, Json] = httpx.get(f"{served.url}/openapi.json").json()["paths"]
    return {
        f"operations-{operation['tags'][0]}-" + re.sub(r"\W", "_", f"{method}{path}"): operation
        for path, methods in paths.items()
        for method, operation in methods.items()
    }


@pytest.fixture(scope="module")
def reference(served: Running, driver: webdriver.Chrome) -> Iterator[Browser]:
    """The reference, open: to draw it takes longer than to use it."""
    page = new_page(driver, "", 1280, served.url)
    driver.get(f"{served.url}/docs")
    page.one(".opblock")
    page.run("performance.setResourceTimingBufferSize(10000)")  # it lists 250 requests otherwise
    yield page
    close_page(driver)


@pytest.mark.parametrize("group", GROUPS)
def test_every_operation_answers(
    reference: Browser, operations: dict[str, Json], picture: Path, tmp_path: Path, group: str
) -> None:
    page = reference
    assert {block.get_attribute("id") for block in page.all(".opblock")} == set(operations)
    names = [n for n in operations if next(g for g in GROUPS if g in n) == group]
    refused: list[str] = []
    # Closed, the parts without them are not drawn anew with everything that is pressed.
    _toggle_others(page, names)
    for name in names:
        block = open_operation(page, name)
        _give_files(page, block, _tensor(operations[name], tmp_path) or picture)
        examples = _examples(operations[name])
        assert examples_of(block) == list(examples)
        if examples:
            _choose_last(page, block, examples)
        status = execute(page, block, f"a reply of {name}")
        if not status.startswith("2"):
            refused.append(f"{name}: {status}")
        press(page, block, ".opblock-summary-control")
    _toggle_others(page, names)
    assert names
    assert refused == []
    assert page.errors() == []
    assert all(a.startswith((f"{page.url}/", "blob:", "data:")) for a in page.requests())


def test_every_example_is_answered(served: Running, picture: Path) -> None:
    sent = 0
    with httpx.Client(base_url=served.url) as client:
        paths: dict[str, Json] = client.get("/openapi.json").json()["paths"]
        for path, methods in paths.items():
            for method, operation in methods.items():
                for request in executed(path, method, operation, picture.read_bytes()):
                    reply = client.request(**request)
                    assert reply.status_code == 200, (request, reply.text)
                    sent += 1
    assert sent > len(paths)


def _choose_last(page: Browser, block: WebElement, examples: Json) -> None:
    """Choose the last example (the first is there already) and wait for its body."""
    title, value = list(examples.items())[-1]
    page.until(lambda: json.loads(choose_example(page, block, title)) == value, title)


def _toggle_others(page: Browser, names: list[str]) -> None:
    """Close, or open, the parts of the reference that hold none of these operations."""
    page.run(_TOGGLE, names)


def _examples(operation: Json) -> Json:
    """The examples of its JSON body, by title."""
    content: Json = operation.get("requestBody", {}).get("content", {})
    examples: Json = content.get("application/json", {}).get("examples", {})
    return {title: example["value"] for title, example in examples.items()}


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
