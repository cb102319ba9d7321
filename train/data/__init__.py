"""Data sets as arrays in memory: MNIST's IDX files, folders and zips of images, bundled digits."""

from train.data.dataset import Dataset, Splits
from train.data.sources import SOURCES, load

__all__ = ["SOURCES", "Dataset", "Splits", "load"]
