"""Run the full scenarios on the shipped artifacts, and write their figures into
`docs/reliability.md`."""

import argparse
import platform
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import runtime
from benchmarks.speed.servers import Running, ours, running
from runtime.artifact.reading import artifact_folders
from runtime.machine import cores, cpu_model
from tests.bento.support import FP32, ROOT
from tests.reliability import abuse, scenarios
from tests.reliability.load import Expected

PAGE = ROOT / "docs" / "reliability.md"

INTRODUCTION = """# Reliability

What the service promises under load and faults, and what was measured. `make reliability` runs
these scenarios on the shipped artifacts and writes this page. `make test` runs each scenario in a
version that takes seconds. `make soak` runs only the last one.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("--soak-minutes", type=float, default=30.0)
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, help="run only these")
    chosen = parser.parse_args()
    soak_seconds = 60 * chosen.soak_minutes
    with tempfile.TemporaryDirectory() as name:
        cache = Path(name) / "cache"
        folders = artifact_folders(ROOT / "artifacts")
        models = [runtime.load(f, precision="fp32", cache=cache) for f in folders]
        expected = Expected(models)
        for model in models:
            model.close()
        settings = {
            **FP32,
            "LATENTSERVE_CACHE": str(cache),
            "LATENTSERVE_REQUEST_LOG": "true",
            "LATENTSERVE_TIMEOUT_SECONDS": "120",
        }
        for title, (text, run) in SCENARIOS.items():
            if chosen.only and title not in chosen.only:
                continue
            limits = {} if title in PATIENT else {"LATENTSERVE_TIMEOUT_SECONDS": "30"}
            with running(ours(ROOT / "artifacts", settings | limits)) as server:
                figures = run(server, expected, soak_seconds)
                if server.process.poll() is None:
                    assert not scenarios.listening_elsewhere(server)
            found = section(title, text, figures)
            print(found, flush=True)
            write_page({**read_sections(), title: found})


def read_sections() -> dict[str, str]:
    """The sections of earlier runs, by title."""
    if not PAGE.exists():
        return {}
    _, *sections = PAGE.read_text("utf-8").split("\n## ")
    return {text.partition("\n")[0]: f"## {text.rstrip()}\n" for text in sections}


def write_page(sections: Mapping[str, str]) -> None:
    """The page, its sections in the order of the scenarios."""
    present = [sections[title] for title in SCENARIOS if title in sections]
    PAGE.write_text("\n".join([INTRODUCTION, *present]), "utf-8")


def section(title: str, text: str, figures: Mapping[str, object]) -> str:
    """A heading, the promise, the machine, and a table of figures."""
    today = datetime.now(UTC).date()
    where = f"{today}, {cpu_model()}, {cores()} cores, Python {platform.python_version()}:"
    rows = "\n".join(f"| {name} | {value} |" for name, value in figures.items())
    return f"## {title}\n\n{text}\n\n{where}\n\n| measure | found |\n| --- | --- |\n{rows}\n"


# About 15 MB: more than the system's own buffers hold.
UNREAD = abuse.post(
    "/sample", {"model": "cifar10-frogs-dcgan", "n": 4096, "seed": 1, "format": "json"}
)

PATIENT = ("Correctness", "Termination", "Killing", "Soak")
"""The scenarios whose many clients share the machine with the server, and leave it little time."""

Run = Callable[[Running, Expected, float], scenarios.Figures]
SCENARIOS: dict[str, tuple[str, Run]] = {
    "Correctness": (
        "200 clients send requests with mixed models, sizes, labels, seeds, offsets and lossless "
        "formats. Every reply is compared, image by image, with the result of `runtime` in "
        "process, and may differ by at most one grey level.",
        lambda server, expected, _: scenarios.correctness(server, expected, 200, 60),
    ),
    "Termination": (
        "SIGTERM under load: every accepted request gets its complete reply, new connections get "
        f"no reply, and the service ends within {scenarios.GRACE_SECONDS:.0f} s.",
        lambda server, expected, _: scenarios.termination(
            server, expected, 50, 10, "mnist-vae", 50_000
        ),
    ),
    "Killing": (
        "SIGKILL of the serving process: connections may break. BentoML checks every 10 s whether "
        "a process ended, and starts a new one. The next request waits until then and succeeds "
        f"within {scenarios.RETURN_SECONDS:.0f} s.",
        lambda server, _, __: scenarios.killing(server, 5),
    ),
    "A header without end": (
        "One connection sends a header of 128 MB. It is refused after some kilobytes.",
        lambda server, _, __: abuse.header_flood(server, 128),
    ),
    "Replies that nobody reads": (
        "24 clients ask for large arrays and never read them. Beyond the budget of bytes they are "
        "refused; those whose reply stands still are cut.",
        lambda server, _, __: abuse.unread_replies(server, 24, UNREAD, 15_000_000, 90),
    ),
    "Uploads that never finish": (
        "40 uploads of 31 MiB stop before their last byte. Beyond the budget of bytes they are "
        "refused; the others are cut at their time limit.",
        lambda server, _, __: abuse.unfinished_uploads(server, 40, 31, 90),
    ),
    "Pictures that are large inside": (
        "120 requests at once, each of six small files that are pictures of 16 megapixels. They "
        "are opened a few at a time, and refused beyond the pixels that may wait.",
        lambda server, _, __: abuse.opener_flood(server, 120, 4000, "mnist-vae"),
    ),
    "Soak": (
        "Mixed load for a long time: resident memory, open files and threads stay nearly constant.",
        lambda server, expected, seconds: scenarios.soak(server, expected, 16, seconds),
    ),
}


if __name__ == "__main__":
    main()
