"""Loads networks from run directories, and the data that they were trained on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn
from yaml import YAMLError

from dst.config import Config, checked
from dst.data import Data, training_samples
from dst.data.batches import Batch
from dst.errors import UserError, is_of_place
from dst.models import model_of
from dst.run.directory import read_checkpoint
from dst.run.layout import CONFIG
from dst.run.outcome import read_summary
from dst.tasks import Task, task_of
from dst.train import inherited
from dst.training.build import load_data, training_factory
from dst.training.device import place, prepare_device

from .states import NetworkState

SPLITS = ("train", "test")
"""The splits that networks are evaluated on."""


@dataclass(frozen=True)
class Weights:
    """The content of a network.

    Attributes:
        tensors: its parameters and buffers by name, on the host; inactive weights are 0.
        masks: bool, by parameter name, on the host; empty for a dense network, None where they were not stored.
    """

    tensors: dict[str, Tensor]
    masks: dict[str, Tensor] | None


@dataclass(frozen=True)
class Place:
    """Where networks are evaluated.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        data_dir: folder of all datasets; None: that of the run.
    """

    device: str = "auto"
    data_dir: Path | None = None


@dataclass
class Network:
    """A model on a device with its data, which any weights of that model can be loaded into."""

    model: nn.Module
    data: Data
    device: torch.device
    precision: str
    task: Task

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Loads parameters and buffers."""
        self.model.load_state_dict(tensors)

    def batches(self, split: str) -> Iterable[Batch]:
        """Returns the batches of ``train``, in order and not augmented, or ``test``."""
        return training_samples(self.data.train) if split == "train" else self.data.test


def load_weights(state: NetworkState, where: Place) -> Weights:
    """Returns the weights of a run at a point of its training.

    Those of its first step are made again from its config: drawn from its seed and masked as ``initial_mask`` says.

    Args:
        state: of a run whose checkpoint was kept.
        where: only the first step of a run needs a device and data.

    Raises:
        UserError: for a config or checkpoint that cannot be read, and for weights that were not stored.
    """
    if state.point == "0" and not state.file.exists():
        config = load_config(state, where)
        training = training_factory(config)(inherited(config))
        return Weights(_on_host(training.model.state_dict()), _on_host(training.sparsity.masks))
    saved = _read(state)
    if state.point.isdecimal():
        return Weights(saved["model"], saved["masks"])
    saved = saved["training"]
    if state.point == "last":
        return Weights(saved["model"], saved["sparsity"].get("masks", {}))
    if saved["best"]["model"] is None:
        raise UserError(f"{state.name}: the run trained no epoch, so it has no best one; give {state.run_id}")
    return Weights(saved["best"]["model"], None if saved["sparsity"] else {})


def load_network(state: NetworkState, where: Place) -> Network:
    """Returns the model of a run on its device, with the run's data.

    Args:
        state: whose run gives model, data, batch size and precision.
        where: to compute.

    Raises:
        UserError: for a device or data that are not there, and for data that differ from those the run was trained on.
    """
    config = load_config(state, where)
    device = prepare_device(config.device, config.precision, deterministic=config.deterministic)
    data = load_data(config, device)
    if (read_summary(state.path) or {}).get("data_fingerprint") not in (None, data.fingerprint):
        raise UserError(f"{state.run_id}: the data in data_dir={config.data_dir} differ from those it was trained on")
    model = place(model_of(config, data.shape, data.num_classes), device, config.precision)
    return Network(model, data, device, config.precision, task_of(vars(config)))


def parameter_names(state: NetworkState, where: Place) -> list[str]:
    """Returns the names of a model's parameters; loads the data only where the config does not say their shape.

    Args:
        state: of any run of the model.
        where: the data are, if need be.
    """
    config = load_config(state, where)
    shape, classes = config.dataset.shape, config.dataset.num_classes
    model = model_of(config, shape, classes) if shape and classes else load_network(state, where).model
    return [name for name, _ in model.named_parameters()]


def load_config(state: NetworkState, where: Place) -> Config:
    """Returns the config of a run, to compute elsewhere.

    Args:
        state: of the run.
        where: replaces the config's device and, if given, its ``data_dir``.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        config = checked(OmegaConf.load(state.path / CONFIG))  # type: ignore[arg-type]
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{state.path / CONFIG}: cannot be read ({' '.join(str(error).split())})") from error
    output_dir = str(state.path.absolute().parent.parent)
    data_dir = config.data_dir if where.data_dir is None else str(where.data_dir)
    return replace(config, device=where.device, data_dir=data_dir, output_dir=output_dir)


def _read(state: NetworkState) -> dict[str, Any]:
    path = state.file
    try:
        return read_checkpoint(path)
    except Exception as error:  # a damaged file fails in many ways
        if is_of_place(error):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:100]
        raise UserError(f"{path}: is damaged ({reason}); train the run again with rerun=true") from error


def _on_host(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
