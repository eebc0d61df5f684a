"""Datasets: decoded once, kept in device memory, batched and augmented there; ImageNet is read from disk instead."""

from dst.config import DatasetConfig
from dst.data.dataset import Data
from dst.data.load import load
from dst.data.prepare import prepare
from dst.data.training_samples import training_samples

__all__ = ["Data", "DatasetConfig", "load", "prepare", "training_samples"]
