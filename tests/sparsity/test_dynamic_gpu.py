"""DynamicSparsity on a GPU: no synchronization, the same masks as on the CPU, deterministic results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from dst.config.tree import options
from tests.sparsity.networks import BIG, Layers, assert_inactive_is_exactly_zero, counts, equal, sparse


@contextmanager
def synchronization_forbidden() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("growth", options("growth"))
@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_updates_and_steps_do_not_synchronize_with_the_gpu(growth: str, scope: str, optimizer: str) -> None:
    momentum = "dense" if growth == "momentum" else "masked"
    for criterion in options("criterion"):
        model = Layers(BIG).to("cuda")
        sparsity = sparse(model, optimizer, criterion=criterion, growth=growth, scope=scope, momentum=momentum)
        total = sum(counts(sparsity.masks).values())
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        sparsity.step()  # creates the optimizer state
        with synchronization_forbidden():
            sparsity.update()
            sparsity.step()
        assert sum(counts(sparsity.masks).values()) == total
        assert_inactive_is_exactly_zero(sparsity)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_synchronization_check_detects_synchronization() -> None:
    with synchronization_forbidden(), pytest.raises(RuntimeError):
        torch.ones(1, device="cuda").item()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("growth", ["random", "gradient"])
def test_a_gpu_draws_the_same_masks_as_the_cpu_and_is_deterministic(growth: str) -> None:
    def trained() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        model = Layers(BIG).to("cuda")
        sparsity = sparse(model, growth=growth, seed=4)
        start = {name: mask.cpu().clone() for name, mask in sparsity.masks.items()}
        stream = torch.Generator("cuda").manual_seed(0)
        for _ in range(8):
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape, device="cuda", generator=stream)
            sparsity.step()
        return start, sparsity.masks

    (start, first), (_, second) = trained(), trained()
    assert equal(start, sparse(Layers(BIG), seed=4).masks)
    assert equal(first, second)
