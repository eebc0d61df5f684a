"""Datasets: decoded once, kept on the device, batched and augmented there (ImageNet streams instead)."""

from dst.config import DatasetConfig
from dst.data.dataset import Data
from dst.data.load import load
from dst.data.prepare import prepare

__all__ = ["Data", "DatasetConfig", "load", "prepare"]
