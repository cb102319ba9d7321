"""latentserve's export: freeze a torch module into a verified artifact."""

from export.api import export
from export.runs import export_run
from runtime.artifact.manifest import Provenance
from runtime.errors import ExportError
from runtime.images import ImageSpec

__all__ = ["ExportError", "ImageSpec", "Provenance", "export", "export_run"]
