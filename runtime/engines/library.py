"""What an engine library offers, and what a caller requests of the engines.

A module of this package that defines `ENGINES`, a tuple of `EngineLibrary`, is found by that name
(`registry`). Importing it must import no engine library.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from runtime.artifact.reading import Artifact
from runtime.artifact.tensors import Precision
from runtime.engines.backend import Backend, Place, Setting, Variant

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class EngineRequest:
    """What a caller of `load` requests; `auto` leaves it open."""

    backend: str = "auto"
    precision: Precision | Literal["auto"] = "auto"
    device: Device = "auto"


class EngineLibrary(Protocol):
    """One engine library, whether it is installed or not."""

    @property
    def name(self) -> str:
        """The value of `backend` that selects it."""
        ...

    @property
    def places(self) -> tuple[Place, ...]:
        """The kinds of device it runs on."""
        ...

    def version(self, artifact: Artifact, cache: Path) -> Any:
        """What its variants depend on besides the machine, as JSON: the installed version, and what
        was built for the artifact. Imports nothing heavy."""
        ...

    def has_gpu(self) -> bool:
        """Whether it is installed, with what it takes to run on GPUs."""
        ...

    def require_gpu(self) -> None:
        """Raises EngineError, with the way to install it, where it cannot run on GPUs."""
        ...

    def candidates(
        self, artifact: Artifact, request: EngineRequest, place: Place, cache: Path
    ) -> list[Variant]:
        """What it can run of the artifact here, on one of its places and within the request, the
        usually fastest first on GPUs, the simplest on CPUs.

        Raises EngineError where something is missing that the caller may want to know of.
        """
        ...

    def open(self, artifact: Artifact, variant: Variant, setting: Setting, cache: Path) -> Backend:
        """Load a verified artifact; EngineError where this machine cannot run the variant."""
        ...
