"""The pictures of the page in `docs/images`: `python -m tests.page.screenshots [NAME ...]`."""

import argparse
import base64
import io
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains

from benchmarks.speed.servers import ours, running
from tests.bento.support import ROOT
from tests.page.browser import Browser
from tests.page.conftest import chromium

FOLDER = ROOT / "docs/images"
SIZE = (1280, 900)
MAX_BYTES = 250_000


@dataclass(frozen=True)
class Shot:
    """A picture of a tab, taken once `ready` holds."""

    tab: str
    ready: Callable[[Browser], object]


def wander(page: Browser) -> bool:
    """Move over the map, to a good digit at last."""
    plane = page.one(".plane")
    hand = ActionChains(page.driver, duration=20)
    for x in range(-240, 114, 8):
        hand.move_to_element_with_offset(plane, x, 240)
    hand.perform()
    return "ms" in page.one(".timing").text


SHOTS: Mapping[str, Shot] = {
    "explore-map": Shot("explore?model=mnist-vae-2d", wander),
    "explore-directions": Shot(
        "explore?model=mnist-cgan&labels=5&seed=7&offset=3",
        lambda page: page.all(".slider") and page.pixels(".slider:last-child canvas").any(),
    ),
    "models": Shot(
        "models", lambda page: len(page.all(".about img")) == len(page.all(".card")) > 0
    ),
}


def take(page: Browser, shot: Shot) -> bytes:
    """A PNG of a tab, of SIZE."""
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": SIZE[0], "height": SIZE[1], "deviceScaleFactor": 1, "mobile": False},
    )
    page.driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
    page.go(shot.tab)
    page.until(lambda: shot.ready(page), shot.tab)
    shown = page.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
    buffer = io.BytesIO()
    picture = Image.open(io.BytesIO(base64.b64decode(shown))).convert("RGB")
    picture.save(buffer, "PNG", optimize=True)
    if buffer.tell() > MAX_BYTES:
        buffer = io.BytesIO()
        picture.quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.page.screenshots", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SHOTS)}; or all")
    names = parser.parse_args().names or list(SHOTS)
    if unknown := sorted(set(names) - SHOTS.keys()):
        parser.error(f"NAME: expected some of {', '.join(SHOTS)}, found {', '.join(unknown)}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with running(ours(ROOT / "artifacts")) as served, tempfile.TemporaryDirectory() as profile:
        page = Browser(chromium(Path(profile), SIZE[0]), served.url)
        try:
            for name in names:
                data = take(page, SHOTS[name])
                (FOLDER / f"{name}.png").write_bytes(data)
                print(f"docs/images/{name}.png: {len(data):,} bytes")
        finally:
            page.driver.quit()


if __name__ == "__main__":
    main()
