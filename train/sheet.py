"""Contact sheets of samples."""

from pathlib import Path

from PIL import Image

from runtime.images import UInt8Array, contact_sheet, to_picture


def save_sheet(path: Path, images: UInt8Array, columns: int, scale: int = 2) -> None:
    """Write images [N, H, W, C] as one PNG, row by row, each pixel `scale` wide."""
    sheet = to_picture(contact_sheet(images, columns))
    size = (sheet.width * scale, sheet.height * scale)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.resize(size, Image.Resampling.NEAREST).save(path)
