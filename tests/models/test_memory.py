"""GPU memory of training, computed from the tensors saved for backward, and training in half precision."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dst.config import checked, compose
from dst.models import build_model
from dst.tasks import Classification
from dst.train import run
from dst.training.device import autocast
from tests.benchmarks.setups import SETUPS
from tests.benchmarks.steps import activations_mb

V100_MB = 16 * 1024


def test_resnet50_fits_a_v100_at_its_batch_size_only_in_half_precision() -> None:
    setup = next(setup for setup in SETUPS if setup.model == "resnet50")
    assert setup.config().recipe.batch_size == 256
    fp32 = activations_mb(setup)
    weights_mb = 25.6e6 / 2**20
    state = weights_mb * (4 + 4 + 4 + 4 + 1 + 1)  # weight, gradient, momentum, mask to apply, mask, explored
    assert fp32 > V100_MB  # hence precision=fp16
    assert 0.5 * fp32 + state < 0.7 * V100_MB  # the rest is for cuDNN's workspaces and the context


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_reaches_the_accuracy_of_full_precision(
    overrides: Callable[..., list[str]], precision: str
) -> None:
    learns = ("recipe.epochs=10", "recipe.lr=0.2", "growth=gradient", "density=d0.5")
    full, half = (run(compose(overrides(*learns, f"precision={name}"))) for name in ("fp32", precision))
    assert full["train_loss"] != half["train_loss"]
    assert full["test_acc"] > 0.8
    assert half["test_acc"] == pytest.approx(full["test_acc"], abs=0.05)
    assert half["topology_updates"] == full["topology_updates"] > 0


@pytest.mark.parametrize(("precision", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_half_precision_halves_the_memory_saved_for_backward(precision: str, dtype: torch.dtype) -> None:
    kept = {name: activations(name) for name in ("fp32", precision)}
    assert {tensor.dtype for tensor in kept[precision]} >= {dtype}
    sizes = {name: sum(tensor.nbytes for tensor in tensors) for name, tensors in kept.items()}
    assert 0.4 < sizes[precision] / sizes["fp32"] < 0.6


def activations(precision: str) -> list[Tensor]:
    """Returns the tensors that ResNet-56 saves for backward, each storage once, without the weights."""
    node = checked(compose(["model=resnet56"])).model
    model = build_model(node, input_shape=(3, 32, 32), num_classes=10, seed=1, dataset="cifar10")
    weights = {weight.data_ptr() for weight in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    cpu = torch.device("cpu")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), autocast(precision, cpu):
        Classification().loss(model(torch.randn(8, 3, 32, 32)), torch.zeros(8, dtype=torch.int64)).backward()
    return [tensor for pointer, tensor in kept.items() if pointer not in weights]
