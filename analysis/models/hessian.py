"""The spectrum of the Hessian of trained networks (Evci et al., 2022), as the probe ``hessian`` measures it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from torch import Tensor
from tqdm import tqdm

from dst.data.batches import Batch
from dst.errors import UserError
from dst.probes.spectrum import DTYPES, Hessian, spectrum

from .load import Network, Place, load_network, load_weights
from .states import NetworkState

MODES = ("train", "eval")


@dataclass(frozen=True)
class Settings:
    """How eigenvalues are computed; see :class:`dst.probes.HessianSpectrum`.

    ``mode`` of the network, one of :data:`MODES`: the probe's training mode, or that of evaluation, where batch norm
    uses its running statistics and nothing is dropped.
    """

    sample: int = 1000
    method: str = "auto"
    max_size: int = 5000
    dtype: str = "float32"
    mode: str = "train"


def spectra(states: Sequence[NetworkState], settings: Settings, where: Place) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Computes eigenvalues of the Hessian of each network's loss on the first samples of its training split.

    Args:
        states: networks of any models.
        settings: of the computation.
        where: to compute.

    Returns:
        A row for each network, ``network line size method largest smallest negative``, and a row for each eigenvalue,
        ``network eigenvalue``, ascending.

    Raises:
        UserError: for masks that were not stored, a sample larger than the training split, and a matrix that is too
            large.
    """
    rows, eigenvalues = [], []
    for state in tqdm(states, desc="hessian", unit="network", disable=None, leave=False):
        try:
            found = spectrum(_hessian(state, settings, where), method=settings.method, max_size=settings.max_size)
        except ValueError as error:  # of a matrix that is too large
            raise UserError(f"method={settings.method}, {state.name}: {error}") from error
        measures = {key: value.tolist() if isinstance(value, Tensor) else value for key, value in found.items()}
        eigenvalues.append(pd.DataFrame({"network": state.name, "eigenvalue": measures.pop("eigenvalues")}))
        rows.append({"network": state.name, "line": state.line, **measures})
    return pd.DataFrame(rows), pd.concat(eigenvalues, ignore_index=True)


def _hessian(state: NetworkState, settings: Settings, where: Place) -> Hessian:
    weights, network = load_weights(state, where), load_network(state, where)
    if weights.masks is None:
        raise UserError(f"{state.name}: its masks were not stored; give the last weights, 0 or a snapshot")
    network.load(weights.tensors)
    return Hessian(
        network.model.train(settings.mode == "train"),
        weights.masks,
        _first_samples(network, settings.sample),
        network.task.loss,
        dtype=DTYPES[settings.dtype],
    )


def _first_samples(network: Network, count: int) -> list[Batch]:
    train = network.data.train
    samples, size = train.sizes
    if count > samples:
        raise UserError(f"sample={count}: the training split has {samples} samples; give {samples} or fewer")
    raw, y = train.raw_sample(count)
    return [train.make_batch(raw[begin : begin + size], y[begin : begin + size]) for begin in range(0, count, size)]
