"""Swagger UI, which shows the API reference at /docs, in a person's hands."""

from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.page.browser import Browser

_STATUS = ".live-responses-table tbody .response-col_status"
_EXAMPLES = ".opblock-section-request-body .examples-select-element"
_BODY = ".opblock-section-request-body textarea"
_CHOOSE = """
const [examples, title] = arguments;
examples.value = [...examples.options].find((o) => o.textContent.trim() === title).value;
examples.dispatchEvent(new Event("change", { bubbles: true }));
"""


def open_operation(page: Browser, name: str) -> WebElement:
    """Open an operation by its element's id, to be tried."""
    block = page.one(f"[id='{name}']")
    press(page, block, ".opblock-summary-control")
    press(page, block, ".try-out__btn")
    return block


def press(page: Browser, block: WebElement, css: str) -> None:
    """Press the first button of that kind in an operation, once it is there."""

    def pressed() -> bool:
        for button in block.find_elements(By.CSS_SELECTOR, css):
            page.run("arguments[0].scrollIntoView({block: 'center'})", button)
            button.click()
            return True
        return False

    page.until(pressed, css)


def execute(page: Browser, block: WebElement, what: str) -> str:
    """Execute it; the status of the reply. `what` is waited for, should it not come."""
    for clear in block.find_elements(By.CSS_SELECTOR, ".btn-clear"):
        clear.click()
    page.until(lambda: not block.find_elements(By.CSS_SELECTOR, _STATUS))
    press(page, block, ".execute")

    def status() -> str:
        found = block.find_elements(By.CSS_SELECTOR, _STATUS)
        return found[0].text.strip() if found else ""

    return page.until(status, what)


def examples_of(block: WebElement) -> list[str]:
    """The titles of the examples that an operation offers."""
    options = block.find_elements(By.CSS_SELECTOR, f"{_EXAMPLES} option")
    return [(option.get_attribute("textContent") or "").strip() for option in options]


def choose_example(page: Browser, block: WebElement, title: str) -> str:
    """Choose an example; the JSON body that will be sent."""
    page.run(_CHOOSE, block.find_element(By.CSS_SELECTOR, _EXAMPLES), title)
    return block.find_element(By.CSS_SELECTOR, _BODY).get_attribute("value") or ""
