"""The page in a browser: how long an image takes to follow the pointer, and how the page loads.

A headless Chromium opens the page of a service on the same machine. The pointer is moved over the
map of a 2-D latent space, to one random place after another, each once the image before is shown:
from the time of the browser's own event to the frame with the new image. The page is loaded with
an empty cache: until the frame with the first picture of the Sample tab, the bytes of its files
as they are sent, and what it asks of other servers.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from benchmarks.figures import Bar, Figure, most
from benchmarks.speed import servers
from benchmarks.speed.chromium import chromium
from benchmarks.speed.publishing import parser, publish
from runtime.machine import cores

ROUND_TRIP: Bar = most(50.0)
"""Milliseconds, the median."""
BYTES: Bar = most(300.0)
"""Kilobytes of the page's files."""
EXTERNAL: Bar = most(0.0)
"""Requests to other servers."""
FIRST_PICTURE: Bar = most(1.0)
"""Seconds from the start of the navigation."""

MODEL = "mnist-vae-2d"
_WAIT = 30.0

# Before any script of the page: when the frame with each painted picture was there. A message that
# is posted from the callback of a frame comes after that frame was drawn.
_WATCH = """
const measured = window.measured = { moved: 0, trips: [], first: null };
addEventListener("pointermove", (event) => { measured.moved = event.timeStamp; }, true);
const paint = CanvasRenderingContext2D.prototype.putImageData;
CanvasRenderingContext2D.prototype.putImageData = function (...given) {
  paint.apply(this, given);
  const { moved } = measured;
  const live = this.canvas.closest(".live") !== null;
  requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      const now = performance.now();
      measured.first ??= now;
      if (live && moved) measured.trips.push(now - moved);
    };
    port2.postMessage(null);
  });
};
"""
_LOADED = """
return [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
  .map((entry) => ({ url: entry.name, bytes: entry.transferSize, kind: entry.initiatorType }));
"""


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks page`"""
    options = parser("page", __doc__)
    options.add_argument("--artifacts", type=Path, default=servers.ROOT / "artifacts")
    options.add_argument("--moves", type=int, help="of the pointer (200; 10 with --quick)")
    options.add_argument("--loads", type=int, help="of the page (9; 2 with --quick)")
    chosen = options.parse_args(arguments)
    moves = chosen.moves or (10 if chosen.quick else 200)
    loads = chosen.loads or (2 if chosen.quick else 9)
    with servers.running(servers.ours(chosen.artifacts)) as service, browser() as driver:
        first, files, external = load(driver, service.url, loads)
        trips = follow(driver, service.url, moves)
        external += len(_loaded(driver, service.url)[1])
        version = driver.capabilities["browserVersion"]
    publish(
        chosen,
        "page",
        "The page",
        figures(trips, first, files, external),
        {"cores": cores(), "model": MODEL, "moves": moves, "loads": loads, "chromium": version},
    )


def figures(
    trips: Sequence[float], first: Sequence[float], files: Sequence[int], external: int
) -> list[Figure]:
    spread = {"min": min(trips), "95%": float(np.percentile(trips, 95)), "max": max(trips)}
    size, slowest = sum(files) / 1000, {"max": max(first)}
    return [
        _figure("pointer to image", median(trips), "ms", ROUND_TRIP, spread, trips),
        _figure("load: files", size, "KB", BYTES, {"files": len(files)}),
        _figure("load: other servers", external, "requests", EXTERNAL),
        _figure("load: first picture", median(first), "s", FIRST_PICTURE, slowest, first),
    ]


def _figure(
    subject: str,
    value: float,
    unit: str,
    bar: Bar,
    details: dict[str, float] | None = None,
    rounds: Sequence[float] = (),
) -> Figure:
    return Figure(
        subject, "the page", value, unit, bar=bar, details=details or {}, rounds=list(rounds)
    )


@contextmanager
def browser() -> Iterator[Chrome]:
    """A browser that watches what it paints, and keeps no files."""
    with TemporaryDirectory(prefix="latentserve-browser-") as profile:
        driver = chromium(Path(profile), 1280)
        try:
            driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _WATCH})
            driver.execute_cdp_cmd("Network.enable", {})
            driver.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
            yield driver
        finally:
            driver.quit()


def load(driver: Chrome, url: str, loads: int) -> tuple[list[float], list[int], int]:
    """Seconds to the first picture of each load; the bytes of each of the page's files; how many
    requests went to other servers."""
    seconds: list[float] = []
    for _ in range(loads):
        driver.get("about:blank")
        driver.get(f"{url}/")
        seconds.append(_until(driver, "return window.measured?.first") / 1000)
    own, external = _loaded(driver, url)
    # What it fetches by script are pictures and lists of models: the user's, not the page's.
    return seconds, [each["bytes"] for each in own if each["kind"] != "fetch"], len(external)


def _loaded(driver: Chrome, url: str) -> tuple[list[Any], list[Any]]:
    """What the page has loaded from its service, and from elsewhere."""
    entries = driver.execute_script(_LOADED)
    own = [entry for entry in entries if entry["url"].startswith(f"{url}/")]
    return own, [entry for entry in entries if entry not in own]


def follow(driver: Chrome, url: str, moves: int) -> list[float]:
    """Milliseconds from each move of the pointer over the map to the frame with its image."""
    driver.get("about:blank")
    driver.get(f"{url}/#explore?model={MODEL}")
    _until(driver, "return window.measured?.first")  # the image in the middle of the map
    plane = driver.find_element(By.CSS_SELECTOR, ".plane")
    half = [plane.size[side] / 2 - 2 for side in ("width", "height")]
    places = np.random.default_rng(0).uniform(-1, 1, (moves + 1, 2)) * half
    for done, (x, y) in enumerate(places.astype(int).tolist()):
        hand = ActionChains(driver, duration=0)
        hand.move_to_element_with_offset(plane, x, y).perform()
        _until(driver, f"return measured.trips.length > {done} || null")
    return driver.execute_script("return measured.trips")[1:]  # the first move warms up


def _until(driver: Chrome, script: str) -> Any:
    """What a script returns once it is not null; TimeoutError where it stays so."""
    give_up = time.monotonic() + _WAIT
    while (found := driver.execute_script(script)) is None:
        if time.monotonic() > give_up:
            raise TimeoutError(f"expected {script!r} to hold within {_WAIT:g} s")
        time.sleep(0.005)
    return found
