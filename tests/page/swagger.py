"""Swagger UI, which shows the API reference at /docs, in a person's hands."""

from collections.abc import Sequence

from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.page.browser import Browser

_STATUS = ".live-responses-table tbody .response-col_status"
_EXAMPLES = ".opblock-section-request-body .examples-select-element"
_BODY = ".opblock-section-request-body textarea"
_EVERY = """
const [block, titles, statusCss, examplesCss, bodyCss, done] = arguments;
const find = (css) => block.querySelector(css);
const status = () => find(statusCss)?.textContent.trim();
const until = (holds) => new Promise((resolve) => {
  const look = () => { if (holds()) { watch.disconnect(); resolve(); } };
  const watch = new MutationObserver(look);
  watch.observe(block, { subtree: true, childList: true, characterData: true });
  look();
});
(async () => {
  const replies = {};
  for (const title of titles) {
    find(".btn-clear")?.click();
    await until(() => status() === undefined);
    const examples = find(examplesCss);
    examples.value = [...examples.options].find((o) => o.textContent.trim() === title).value;
    examples.dispatchEvent(new Event("change", { bubbles: true }));
    find(".execute").click();
    await until(status);
    replies[title] = [status(), find(bodyCss).value];
  }
  return replies;
})().then(done, (error) => done(String(error)));
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


def execute_examples(
    page: Browser, block: WebElement, titles: Sequence[str]
) -> dict[str, tuple[str, str]]:
    """Choose each example and execute it; by title the status of the reply, and the JSON body that
    was sent. The page does what it does for a person, but looks by itself for what comes: half the
    work of asking it again and again."""
    given = (list(titles), _STATUS, _EXAMPLES, _BODY)
    replies = page.driver.execute_async_script(_EVERY, block, *given)
    assert isinstance(replies, dict), replies
    return {title: (status, body) for title, (status, body) in replies.items()}
