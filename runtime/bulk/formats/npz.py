"""Tensors as numpy's npz, not compressed; the keys are an array `keys`."""

import zipfile
from collections.abc import Mapping, Sequence
from typing import IO

import numpy as np

from runtime.bulk.formats.columns import Column
from runtime.images.encoding import ZIP_TIME, npy_header


def write_tensors(
    file: IO[bytes], columns: Sequence[Column], keys: Sequence[str], about: Mapping[str, str]
) -> None:
    """Write an array for each column. There is no place for `about`."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for column in (*columns, Column.of("keys", np.array(keys, np.str_))):
            member = zipfile.ZipInfo(f"{column.name}.npy", ZIP_TIME)
            with archive.open(member, "w", force_zip64=True) as values:
                values.write(npy_header(column.shape, column.dtype))
                column.copy(values)
