"""The exceptions of latentserve: one tree, and every lower-level error is mapped into it.

LatentServeError
├── ArtifactError     an artifact is damaged, unsafe or of another format; nothing is loaded
├── InputError        a value of the caller is not valid: gives field, expected and found
│   ├── NotFiniteError    an encoder gives no usable latent for a picture: NaN, infinity, 10^9
│   └── StorageError      a file system fails: whether what it holds is valid is not known
├── OverloadedError   the queue is full, and the caller chose not to wait
├── EngineError       an engine library is missing, refused a graph or failed while running it
│   ├── WrongImagesError  its images differ too much from the reference's
│   └── OutOfDeviceMemoryError    the GPU has too little free memory
├── ExportError       a module cannot become an artifact; nothing is written
└── ServiceError      a service that was asked over HTTP refused, failed or did not answer
"""

from pathlib import Path
from typing import Any, Literal, TypeVar

ErrorT = TypeVar("ErrorT", bound=BaseException)


class LatentServeError(Exception):
    """Base of every error that latentserve raises on purpose.

    Each can be pickled and sent to another process: an error that fails to unpickle breaks a whole
    pool of processes.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickle passes the message alone; our constructors take other arguments.
        return _again, (type(self), self.args), vars(self)


def _again(kind: type[LatentServeError], args: tuple[Any, ...]) -> LatentServeError:
    return kind.__new__(kind, *args)


class ArtifactError(LatentServeError):
    """An artifact cannot be trusted or understood.

    `file` is the path of the wrong file (or of the artifact's folder), `reason` says what was
    expected and what was found.
    """

    def __init__(self, file: Path | str, reason: str) -> None:
        self.file = str(file)
        self.reason = reason
        super().__init__(f"{self.file}: {reason}")


class InputError(LatentServeError):
    """A value from the caller is not valid; nothing was run."""

    def __init__(self, field: str, expected: str, found: str) -> None:
        self.field = field
        self.expected = expected
        self.found = found
        super().__init__(f"{field}: expected {expected}, found {found}")


class NotFiniteError(InputError):
    """An encoder gives NaN, infinity or values beyond any latent for one of the caller's images."""


class StorageError(InputError):
    """A file system, or the store at a URL, cannot be reached or fails."""


class OverloadedError(LatentServeError):
    """The queue is full: it holds `queued` of at most `limit` images or bytes (`unit`)."""

    def __init__(
        self, queued: int, limit: int, unit: Literal["images", "bytes"] = "images"
    ) -> None:
        self.queued = queued
        self.limit = limit
        self.unit = unit
        super().__init__(
            f"the queue holds {queued} {unit} and its limit is {limit}: "
            f"try again later, or raise Limits.queue_{unit}"
        )


class EngineError(LatentServeError):
    """An inference engine is missing, refused a graph, or failed while running it."""


class WrongImagesError(EngineError):
    """An engine's outputs are too far from the reference's."""


class OutOfDeviceMemoryError(EngineError):
    """A GPU has too little free memory for an allocation."""


class ServiceError(LatentServeError):
    """A service that was asked over HTTP refused a request, failed or did not answer.

    `status` is that of HTTP; None where no whole reply came. `field`, `expected` and `found` are
    what the reply says of the cause, where it does. (What is wrong with a value is an InputError.)
    """

    def __init__(
        self,
        reason: str,
        status: int | None = None,
        field: str | None = None,
        expected: str | None = None,
        found: str | None = None,
    ) -> None:
        self.status = status
        self.field = field
        self.expected = expected
        self.found = found
        said = "" if expected is None else f": expected {expected}, found {found}"
        super().__init__(f"{'' if status is None else f'{status}: '}{reason}{said}")


class ExportError(LatentServeError):
    """A module cannot be exported with these options; no artifact was written."""


def without_frames(error: ErrorT) -> ErrorT:
    """An error of ours without its traceback, and that of what caused it, for whoever hands it over
    to others by a future: a traceback holds the frames that the error came through, and those that
    called them. Where one of them holds the future, all that they hold, images and engines, stays
    in memory until a collection of garbage. Errors that nobody foresaw keep theirs, for the log.
    """
    left: list[BaseException | None] = [error] if isinstance(error, LatentServeError) else []
    while left:
        each = left.pop()
        if each is not None and each.__traceback__ is not None:
            each.__traceback__ = None
            left += each.__cause__, each.__context__
    return error
