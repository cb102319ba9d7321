"""Data sets as arrays in memory.

Every module of this package is imported here, so a data source is added by writing one file.
"""

from importlib import import_module
from pkgutil import iter_modules

from train.data.dataset import Dataset, Splits
from train.data.source import SOURCES, expect_files, load

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["SOURCES", "Dataset", "Splits", "expect_files", "load"]
