"""Contact sheets of samples."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def save_sheet(path: Path, images: NDArray[np.uint8], columns: int, scale: int = 2) -> None:
    """Write images uint8 [N, H, W, C] as one PNG, row by row, each pixel `scale` wide."""
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    padding = np.zeros((rows * columns - count, height, width, channels), np.uint8)
    grid = np.concatenate([images, padding]).reshape(rows, columns, height, width, channels)
    sheet = grid.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)
    sheet = sheet.repeat(scale, axis=0).repeat(scale, axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet.squeeze(2) if channels == 1 else sheet).save(path)
