"""What is measured is what is served: an artifact, or a run's export, sampled through `runtime`."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import runtime


@contextmanager
def served(subject: str) -> Iterator[runtime.Model]:
    """The model of an artifact (a folder, or a name under artifacts/) or of a training run, which
    is exported into a temporary folder first, in fp32."""
    is_run = (Path(subject) / "run.json").is_file()
    with tempfile.TemporaryDirectory() if is_run else nullcontext() as folder:
        artifact: str | Path = subject
        if folder is not None:
            from export import export_run  # imports torch, which an artifact needs not

            # Variants would take longer to compare with fp32 than most figures take.
            artifact = export_run(subject, out=folder, precisions=())
        with runtime.load(artifact) as model:
            yield model
