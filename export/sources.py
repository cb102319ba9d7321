"""Where a graph comes from, a torch module or an ONNX file: what an export needs of either."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from export.options import ExportOptions
from runtime.artifact.manifest import Axis
from runtime.artifact.tensors import GraphSpec
from runtime.engines.backend import Tensors

if TYPE_CHECKING:  # importing torch takes seconds: only an export pays for it
    from torch import nn


class Network(Protocol):
    """One graph's network as it was before the export: the reference of that graph."""

    @property
    def compared_with(self) -> str | None:
        """What `outputs` runs, for the card and errors; None: a torch module."""
        ...

    def floats(self, inputs: Tensors) -> Sequence[NDArray[Any]]:
        """What the network itself gives for the graph's inputs, in the order of the signature:
        images as floats [B, C, H, W] in the value range. ExportError where it fails."""
        ...

    def outputs(self, inputs: Tensors) -> Tensors:
        """What the graph has to give for these inputs. ExportError where the network fails."""
        ...

    def to_onnx(self, axes: Mapping[str, Axis]) -> bytes:
        """The graph, as `export.graphs.finished` gives it. ExportError where there is none."""
        ...


def batch_size(inputs: Tensors) -> int:
    """The common length of the leading axis."""
    return len(next(iter(inputs.values())))


class Source(ABC):
    """What an importer gives for one graph, before the graph's signature is known."""

    @property
    @abstractmethod
    def description(self) -> str:
        """What it is, for the artifact's provenance."""

    @abstractmethod
    def translated_shape(self, options: ExportOptions) -> tuple[int, int, int]:
        """The (C, H, W) of the images that a translator makes of the smallest of the options."""

    @abstractmethod
    def network(self, graph: str, spec: GraphSpec, options: ExportOptions) -> Network:
        """The network behind the signature of its graph."""


@dataclass(frozen=True)
class Imported:
    """What an importer gives: for each graph a module or another source, and how to export them."""

    options: ExportOptions
    modules: "Mapping[str, nn.Module | Source]"
