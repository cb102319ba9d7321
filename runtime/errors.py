"""The exceptions of latentserve: one tree, every lower-level error mapped into it.

LatentServeError
├── ArtifactError     an artifact that is damaged, unsafe or not one of ours; nothing is loaded
├── InputError        a value the caller gave: names the field, the expected and the found
├── OverloadedError   the queue has no room and the caller chose not to wait
├── DeadlineExceeded  the work was not finished in the time the caller allowed
├── EngineError       an engine library is missing, refused a graph or failed while running it
│   ├── NotFiniteError    it gave NaN or infinity
│   ├── WrongImagesError  its images are not the reference's
│   └── OutOfDeviceMemoryError    the GPU has no room for it
└── ExportError       a module that cannot become an artifact; nothing is written
"""

from pathlib import Path


class LatentServeError(Exception):
    """Base of every error that latentserve raises on purpose."""


class ArtifactError(LatentServeError):
    """An artifact cannot be trusted or understood.

    `file` is the path inside the artifact (or the artifact's folder) that is at fault,
    `reason` says what was expected and what was found.
    """

    def __init__(self, file: Path | str, reason: str) -> None:
        self.file = str(file)
        self.reason = reason
        super().__init__(f"{self.file}: {reason}")


class InputError(LatentServeError):
    """A value given by the caller is not acceptable; nothing was run."""

    def __init__(self, field: str, expected: str, found: str) -> None:
        self.field = field
        self.expected = expected
        self.found = found
        super().__init__(f"{field}: expected {expected}, found {found}")


class OverloadedError(LatentServeError):
    """The queue is full. `retry_after` is a suggestion in seconds."""

    def __init__(self, queued: int, limit: int, retry_after: float = 1.0) -> None:
        self.queued = queued
        self.limit = limit
        self.retry_after = retry_after
        super().__init__(
            f"the queue holds {queued} images and its limit is {limit}: "
            f"try again in {retry_after:.0f} s, or raise Limits.queue_images"
        )


class DeadlineExceeded(LatentServeError):  # noqa: N818 - the field's name for it
    """The work was dropped because its time was over before the engine finished it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"not finished within the allowed {seconds:g} s")


class EngineError(LatentServeError):
    """An inference engine is missing, refused a graph, or failed in a run."""


class NotFiniteError(EngineError):
    """An engine's outputs hold NaN or infinity."""


class WrongImagesError(EngineError):
    """An engine's outputs are too far from the reference's."""


class OutOfDeviceMemoryError(EngineError):
    """A GPU has no room for an allocation."""


class ExportError(LatentServeError):
    """A module cannot be exported as asked; no artifact was written."""
