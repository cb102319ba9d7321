"""What a test does with the page, in a person's words."""

import base64
import io
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

WAIT = 30.0
"""Seconds; only ever reached when something is broken."""

T = TypeVar("T")

_PIXELS = """
const all = Array.from(document.querySelectorAll(arguments[0]));
if (all.some((e) => e instanceof HTMLImageElement && !(e.complete && e.naturalWidth))) return [];
return all.map((from) => {
  const canvas = document.createElement("canvas");
  canvas.width = from.naturalWidth ?? from.width;
  canvas.height = from.naturalHeight ?? from.height;
  canvas.getContext("2d").drawImage(from, 0, 0);
  return canvas.toDataURL("image/png");
});
"""
_BRING = """
const bytes = Uint8Array.from(atob(arguments[1]), (c) => c.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], "picture.png", { type: "image/png" }));
const options = { bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data };
const kind = { drop: DragEvent, paste: ClipboardEvent }[arguments[0]];
document.getElementById("view").dispatchEvent(new kind(arguments[0], options));
"""


class Browser:
    """A browser that shows the page of a service."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver, self.url = driver, url

    def go(self, tab: str) -> None:
        """Open a tab by its address; "" is what one sees first."""
        self.driver.get(f"{self.url}/" + (f"#{tab}" if tab else ""))

    def all(self, css: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def one(self, css: str) -> WebElement:
        """The first element, once it is there."""
        return self.until(lambda: next(iter(self.all(css)), None), css)

    def button(self, text: str) -> WebElement:
        """The button or link of a tab or dialog, once it is there and can be pressed."""

        def found() -> WebElement | None:
            there = (
                e for e in self.all(":is(main, dialog) :is(button, a)") if e.text.strip() == text
            )
            return next((e for e in there if e.is_enabled() and e.is_displayed()), None)

        return self.until(found, text)

    def labelled(self, text: str) -> WebElement:
        """The input of the field of that label."""
        path = f"//label[span[normalize-space()='{text}']]//*[self::input or self::select]"
        return self.until(lambda: next(iter(self.driver.find_elements(By.XPATH, path)), None), text)

    def until(self, holds: Callable[[], T | None], what: str = "") -> T:
        """Wait until something holds, and return it."""
        # An element may be replaced while one looks at it.
        wait = WebDriverWait(self.driver, WAIT, 0.05, [StaleElementReferenceException])
        try:
            return cast(T, wait.until(lambda _: holds(), what))
        except TimeoutException:
            said = self.run("return document.getElementById('status')?.textContent")
            raise AssertionError(f"never: {what or holds}; the page says {said!r}") from None

    def press(self, *keys: str) -> None:
        """Press keys, as they go to what has the focus."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def fits(self, width: int) -> bool:
        """Whether the page needs no scrolling sideways on a telephone of that width."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 740, "deviceScaleFactor": 1, "mobile": True},
        )
        return self.run("return document.documentElement.scrollWidth") <= width

    def saved(self, folder: Path, name: str) -> bytes:
        """The file of that name that the page gives to be saved, once it is complete."""
        file = folder / name
        return self.until(lambda: file.read_bytes() if file.is_file() else None, name)

    def saves_to(self, folder: Path) -> None:
        """Put what the page saves into a folder."""
        self.driver.execute_cdp_cmd(
            "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)}
        )

    def status(self) -> str:
        return self.one("#status").text

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def pixels(self, css: str) -> NDArray[np.uint8]:
        """What the first image or canvas shows, in its own size, once it is there: [H, W, 3]."""
        return self.until(lambda: self.all_pixels(css), css)[0]

    def all_pixels(self, css: str) -> list[NDArray[np.uint8]]:
        """The same of all that there are, as they are at one moment; none while one is loading."""
        urls: list[str] = self.run(_PIXELS, css)
        files = (io.BytesIO(base64.b64decode(url.partition(",")[2])) for url in urls)
        return [np.asarray(Image.open(file))[..., :3] for file in files]

    def draw(self, canvas: WebElement, points: Sequence[tuple[float, float]]) -> None:
        """Draw a line with the pointer; points are parts of the canvas's width and height."""
        width, height = canvas.size["width"], canvas.size["height"]
        places = [(round((x - 0.5) * width), round((y - 0.5) * height)) for x, y in points]
        hand = ActionChains(self.driver, duration=20)
        hand.move_to_element_with_offset(canvas, *places[0]).click_and_hold()
        for place in places[1:]:
            hand.move_to_element_with_offset(canvas, *place)
        hand.release().perform()

    def slide(self, element: WebElement, value: float) -> None:
        """Move a range input to a value."""
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
        self.run(script, element, value)

    def bring(self, event: str, picture: Path) -> None:
        """A picture that is dropped (`drop`) or pasted (`paste`)."""
        self.one("#view .tab")  # before, nobody would take it
        self.run(_BRING, event, base64.b64encode(picture.read_bytes()).decode())

    def choose(self, picture: Path) -> None:
        """Choose a picture by the page's file input."""
        self.one("input[type=file]").send_keys(str(picture))

    def problems(self) -> list[str]:
        """What the browser's console complains of: errors, failed requests, broken policies."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def errors(self) -> list[str]:
        """Those of them that are more than warnings: of code that is not ours."""
        log = self.driver.get_log("browser")
        return [entry["message"] for entry in log if entry["level"] == "SEVERE"]

    def requests(self) -> list[str]:
        """The addresses of all that the page has loaded."""
        return self.run("return performance.getEntriesByType('resource').map(e => e.name)")

    def barriers(self) -> list[str]:
        """Serious findings of axe-core, which looks for what keeps people out."""
        self.run((files("axe_core_python") / "axe.min.js").read_text("utf-8"))
        found = self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1]; axe.run().then(done)"
        )
        serious = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]
        return [f"{v['id']}: {[n['html'][:120] for n in v['nodes']][:3]}" for v in serious]
