"""Datasets: decoded once, kept on the device, batched and augmented there (ImageNet streams instead)."""

from dst.data.config import DatasetConfig
from dst.data.load import Data, load
from dst.data.prepare import prepare

__all__ = ["Data", "DatasetConfig", "load", "prepare"]
