"""GPU against CPU: equal initial masks and batches, then nearly equal losses and topologies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from dst.training.device import set_numerics
from dst.training.loop import Training
from tests.benchmarks.setups import Setup, make_training
from tests.gpu.cases import Case, Failed, run_case, setups

STEPS = 6
SMALL_STEPS = ("recipe.epochs=1", "recipe.lr=0.01")
"""Large steps on noise would amplify rounding errors."""

LOSS_TOLERANCE = 1e-2
"""Relative, over all steps; rounding errors grow with every step."""

IN_COMMON = 0.95
"""Minimum share of active weights in common; independent masks have about half."""


def cases(device: torch.device) -> Iterator[Case]:
    for setup in setups(device):
        yield run_case(setup.name, _case, setup, device)


def _case(setup: Setup, device: torch.device) -> Case:
    (host, losses), (other, losses_there) = (_trained(setup, torch.device(name)) for name in ("cpu", str(device)))
    for name in ("masks", "weights", "batches"):
        for one, there in zip(host[name], other[name], strict=True):
            if not torch.allclose(one, there, rtol=1e-5, atol=1e-5):
                raise Failed(f"the first {name} differ")
    apart = max(abs(a - b) / abs(a) for a, b in zip(losses, losses_there, strict=True))
    pairs = list(zip(host["last masks"], other["last masks"], strict=True))
    common = sum(int((a & b).sum()) for a, b in pairs) / sum(int((a | b).sum()) for a, b in pairs)
    bits = sum(int((a == b).sum()) for a, b in pairs) / sum(a.numel() for a, _ in pairs)
    passed = apart <= LOSS_TOLERANCE and common >= IN_COMMON
    told = f"losses within {apart:.1e}; after 2 updates {common:.2%} of active weights in common, {bits:.3%} of bits"
    values = {"loss_apart": apart, "active_in_common": common, "mask_bits_equal": bits}
    return Case(setup.name, passed, told, values | {"losses": losses_there})


def _trained(setup: Setup, device: torch.device) -> tuple[dict[str, list[Tensor]], list[float]]:
    """Returns initial masks, weights and batches and the final masks, on the CPU; and the losses."""
    batch = 4 if setup.model == "resnet50" else 32
    config = setup.config("update_period.steps=2", "growth=gradient", *SMALL_STEPS, f"recipe.batch_size={batch}")
    set_numerics("fp32", deterministic=True)
    training = make_training(setup, config, device, STEPS)
    for module in training.model.modules():  # dropout and stochastic depth draw other numbers on each device
        if isinstance(getattr(module, "p", None), float) and not isinstance(module, nn.ModuleList):
            module.p = 0.0
    assert training.sparsity
    start: dict[str, Any] = {
        "masks": _on_host(training.sparsity.masks.values()),
        "weights": _on_host(training.model.parameters()),
        "batches": _on_host(x for x, _ in training.data.train.epoch(0)),
    }
    losses: list[float] = []
    training.train_epoch(lambda: losses.append(_mean_loss(training)))
    return start | {"last masks": _on_host(training.sparsity.masks.values())}, losses


def _mean_loss(training: Training) -> float:
    return training.metrics.means()[0]


def _on_host(tensors: Any) -> list[Tensor]:
    return [tensor.detach().cpu().clone() for tensor in tensors]
