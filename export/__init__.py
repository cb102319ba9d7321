"""latentserve's export: freeze a torch module into a verified artifact."""

from export.api import export
from export.runs import export_run
from runtime.errors import ExportError
from runtime.images import ImageSpec
from runtime.manifest import Provenance

__all__ = ["ExportError", "ImageSpec", "Provenance", "export", "export_run"]
