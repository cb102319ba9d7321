"""Load by `wrk` (https://github.com/wg/wrk): a closed loop of connections, each sending its next
request when its reply is there.

The requests come from a Lua script written for each run. wrk counts what went wrong; a run in which
anything did is a failed run, never a fast one.
"""

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Above any latency of a healthy run, so that wrk's own limit hides none.
_TIMEOUT = 60
_MARK = "figures: "

_JSON_REQUESTS = """
local number = {first}
local headers = {{["Content-Type"] = "application/json"}}
request = function()
  number = number + 1
  return wrk.format("POST", "{path}", headers, string.format('{body}', number))
end
"""

_FILE_REQUESTS = """
local file = assert(io.open("{file}", "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.path = "{path}"
wrk.headers["Content-Type"] = "{media_type}"
file:close()
"""
_HEADER = 'wrk.headers["{}"] = "{}"\n'

_DONE = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{mark}{{"requests":%d,"microseconds":%d,"bytes":%d,"connect":%d,"read":%d,"write":%d,' ..
    '"status":%d,"timeout":%d,"p50":%d,"p90":%d,"p99":%d,"max":%d}}\\n',
    summary.requests, summary.duration, summary.bytes, e.connect, e.read, e.write, e.status,
    e.timeout, latency:percentile(50), latency:percentile(90), latency:percentile(99),
    latency.max))
end
"""


class LoadError(RuntimeError):
    """A run whose figures do not count: errors, or nothing answered."""


@dataclass(frozen=True)
class Load:
    """What is sent: `body` is JSON with %d where a number goes that no two requests share, or a
    file sent as it is. `images` come of each request, in a reply of `least_bytes` or more."""

    path: str
    images: int
    body: str | Path
    media_type: str = "application/json"
    least_bytes: int = 1
    headers: tuple[tuple[str, str], ...] = ()
    """Further ones, of a file."""

    def script(self, first: int) -> str:
        """The Lua script; `first` is where the numbers start."""
        done = _DONE.format(mark=_MARK)
        if isinstance(self.body, Path):
            media_type = self.media_type
            sent = _FILE_REQUESTS.format(file=self.body, path=self.path, media_type=media_type)
            return "".join((sent, *(_HEADER.format(*pair) for pair in self.headers), done))
        return _JSON_REQUESTS.format(first=first, path=self.path, body=self.body) + done


@dataclass(frozen=True)
class Result:
    """What came of a load: images a second, and latencies in milliseconds."""

    images_per_second: float
    requests: int
    p50: float
    p90: float
    p99: float
    maximum: float


def find_wrk() -> str:
    """The path of wrk; SystemExit that says how to get it."""
    path = shutil.which("wrk")
    if path is None:
        raise SystemExit("the load comes from wrk, which is not installed: apt-get install wrk")
    return path


def run(url: str, load: Load, connections: int, seconds: int, first: int) -> Result:
    """Send a load for some whole seconds; LoadError where the run does not count."""
    wrk = find_wrk()
    with tempfile.TemporaryDirectory(prefix="latentserve-wrk-") as folder:
        script = Path(folder) / "load.lua"
        script.write_text(load.script(first))
        # One thread: it is far from busy, and each more takes a core from the server.
        command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={_TIMEOUT}s"]
        limit = seconds + 2 * _TIMEOUT
        try:
            finished = subprocess.run(  # noqa: S603 - our own command
                [*command, "-s", str(script), url], capture_output=True, text=True, timeout=limit
            )
        except subprocess.TimeoutExpired:
            raise LoadError(f"wrk did not end within {limit} s") from None
    return parse(finished.stdout, load, stderr=finished.stderr)


def parse(output: str, load: Load, stderr: str = "") -> Result:
    """The figures of wrk's output, as the script's `done` writes them; LoadError for a failed run.

    wrk ends its connections in the middle of their last requests, which counts as no error. A
    `timeout` is a reply that came, later than wrk's limit.
    """
    lines = [line for line in output.splitlines() if line.startswith(_MARK)]
    if not lines:
        raise LoadError(f"wrk gave no figures: {(stderr or output).strip()[-300:]!r}")
    figures: dict[str, Any] = json.loads(lines[-1].removeprefix(_MARK))
    kinds = ("connect", "read", "write", "status", "timeout")
    errors = [f"{figures[kind]} {kind}" for kind in kinds if figures[kind]]
    requests = figures["requests"]
    if errors:
        raise LoadError(f"errors in a run of {requests} requests: {', '.join(errors)}")
    if not requests or not figures["microseconds"]:
        raise LoadError("no request was answered")
    if figures["bytes"] < requests * load.least_bytes:
        size = figures["bytes"] / requests
        raise LoadError(f"expected replies of {load.least_bytes} bytes or more, found {size:.0f}")
    return Result(
        images_per_second=requests * load.images / (figures["microseconds"] / 1e6),
        requests=requests,
        p50=figures["p50"] / 1000,
        p90=figures["p90"] / 1000,
        p99=figures["p99"] / 1000,
        maximum=figures["max"] / 1000,
    )
