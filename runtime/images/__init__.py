"""Pixels: open, fit, convert; encode as files; contact sheets.

Training and serving share the names of this module. Importing it loads nothing else of the runtime.
"""

from runtime.defaults import MAX_PIXELS
from runtime.images.fitting import fit
from runtime.images.opening import FORMATS, open_image, upright_size
from runtime.images.pixels import (
    Float32Array,
    ImageSpec,
    UInt8Array,
    contact_sheet,
    to_float,
    to_picture,
    to_uint8,
)

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "Float32Array",
    "ImageSpec",
    "UInt8Array",
    "contact_sheet",
    "fit",
    "open_image",
    "to_float",
    "to_picture",
    "to_uint8",
    "upright_size",
]
