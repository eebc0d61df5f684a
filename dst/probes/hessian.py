"""Eigenvalues of the Hessian of the loss, while a run trains (Evci et al., 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dst.errors import UserError
from dst.probes.base import Probe, View, check_sample
from dst.probes.spectrum import DTYPES, METHODS, Hessian, active_index, choose_method, spectrum


@dataclass(frozen=True)
class HessianSpectrum(Probe):
    """Eigenvalues of the Hessian of the mean loss, without weight decay, of the first samples of the training split.

    The Hessian is that with respect to the active weights and all other trainable parameters, in training mode. It is
    computed in chunks of the training's batch size, as the gradient of :class:`~dst.probes.GradientFlow` is. A product
    with a vector costs about twice a gradient on the sample; ``exact`` takes one for each parameter, ``lanczos`` one
    for each of its ``steps``. :func:`~dst.probes.spectrum.spectrum` lists the measures.

    Attributes:
        at: the steps to measure at, from 1; None: those of ``every``.
        sample: number of samples.
        method: ``exact``, ``lanczos``, or ``auto``: exact up to ``max_size`` parameters.
        max_size: the largest number of parameters for ``exact``.
        steps: of the Lanczos iteration.
        k: number of eigenvalues at each end that ``lanczos`` gives.
        dtype: ``float32`` or ``float64``.
    """

    every: int = 1000
    at: list[int] | None = None
    sample: int = 1000
    method: str = "auto"
    max_size: int = 5000
    steps: int = 100
    k: int = 20
    dtype: str = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.at is not None and not (self.at and min(self.at) >= 1):
            raise ValueError(f"probes.{self.name}.at={self.at}: give one step or more, counted from 1, or null")
        for key in ("sample", "max_size", "steps", "k"):
            if getattr(self, key) < 1:
                raise ValueError(f"probes.{self.name}.{key}={getattr(self, key)}: must be 1 or more")
        for key, valid in (("method", METHODS), ("dtype", tuple(DTYPES))):
            if getattr(self, key) not in valid:
                raise ValueError(f"probes.{self.name}.{key}={getattr(self, key)}: choose one of {', '.join(valid)}")

    def due(self, step: int, update: int) -> bool:
        """Whether to measure at a step; see :meth:`Probe.due`."""
        return super().due(step, update) if self.at is None else step in self.at

    def start(self, view: View) -> dict[str, Tensor]:
        """Checks the size of the sample and of the matrix that ``exact`` needs."""
        check_sample(self, self.sample, view)
        trained = {name: weight for name, weight in view.model.named_parameters() if weight.requires_grad}
        try:
            choose_method(self.method, len(active_index(trained, view.masks)), self.max_size)
        except ValueError as error:
            raise UserError(f"probes.{self.name}.method={self.method}: {error}") from error
        return {}

    def measure(self, view: View) -> dict[str, Any]:
        """Returns the measures of :func:`~dst.probes.spectrum.spectrum`."""
        hessian = Hessian(
            view.model,
            view.masks,
            [*view.sample(self.sample)],
            view.loss_of,
            dtype=DTYPES[self.dtype],
            seed=int(torch.randint(2**62, ())),
        )
        return spectrum(hessian, method=self.method, max_size=self.max_size, steps=self.steps, k=self.k)
