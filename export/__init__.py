"""latentserve's export: freeze a torch module into a verified artifact."""

from export.api import export
from export.importers.run import export_run
from export.importers.stylegan import export_stylegan
from export.options import ExportOptions
from runtime.artifact.manifest import Provenance
from runtime.errors import ExportError
from runtime.images import ImageSpec

__all__ = [
    "ExportError",
    "ExportOptions",
    "ImageSpec",
    "Provenance",
    "export",
    "export_run",
    "export_stylegan",
]
