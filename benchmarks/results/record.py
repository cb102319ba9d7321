"""Records: what a run or artifact was and what was measured of it, one committed JSON file each."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.errors import UnfitError
from benchmarks.report import command
from runtime.artifact.reading import read_artifact

FOLDER = Path(__file__).parent / "records"


@dataclass(frozen=True)
class Measurement:
    """What one command found."""

    command: str
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Record:
    """One run's `run.json`, and what was measured of it or of the artifact it became."""

    run: Mapping[str, Any]
    measurements: tuple[Measurement, ...]

    @property
    def figures(self) -> dict[str, float]:
        """What was measured, over what the run itself ended with; of two the newer one."""
        figures = dict(self.run["provenance"]["metrics"])
        for measurement in self.measurements:
            figures |= measurement.figures
        return figures


def read(name: str) -> Record | None:
    """The record of that name; None where nothing was run."""
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        return None
    content = json.loads(path.read_text())
    return Record(content["run"], tuple(Measurement(**found) for found in content["measurements"]))


def write(name: str | None, subject: str | Path, figures: Mapping[str, float]) -> None:
    """Record figures of a run's folder, or of an artifact, measured by this process's own command;
    nothing without a name.

    What other commands have measured of the same subject stays, unless all of it is measured anew.
    """
    if name is None:
        return
    described = _described(Path(subject))
    found = Measurement(command(), dict(figures))
    earlier = read(name)
    kept = [] if earlier is None or earlier.run != described else earlier.measurements
    kept = [m for m in kept if m.command != found.command and not set(m.figures) <= set(figures)]
    content = {"run": described, "measurements": [asdict(m) for m in (*kept, found)]}
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def _described(subject: Path) -> dict[str, Any]:
    """A run's `run.json`; of an artifact, as much of its run's as the manifest states. Figures
    stated there were measured on another occasion, and are left out."""
    file = subject / "run.json"
    if file.is_file():
        return json.loads(file.read_text())
    manifest = read_artifact(subject).manifest
    details = dict(manifest.provenance.details)
    if "params" not in details:
        raise UnfitError(f"{subject}: expected an artifact of a run, found {sorted(details)}")
    return {
        "artifact": manifest.full_name,
        "recipe": details.pop("params"),
        "provenance": {**details, "metrics": {}},
    }
