"""SparseLayer: applying the mask sets any value at an inactive position to 0."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dst.sparsity.layer import SparseLayer

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def mask_of(*shape: int, seed: int = 0) -> Tensor:
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.4
    mask.view(-1)[0] = True
    return mask


def parameter(*shape: int, dtype: torch.dtype = torch.float32) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(9)).to(dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_construction_applies_the_mask_and_keeps_active_weights(dtype: torch.dtype) -> None:
    weight, mask = parameter(6, 4, 3, 3, dtype=dtype), mask_of(6, 4, 3, 3)
    before = weight.detach().clone()
    layer = SparseLayer("w", weight, mask)
    assert torch.equal(weight, torch.where(mask, before, 0))
    assert torch.equal(layer.mask, mask)
    assert torch.equal(layer.explored, mask)
    assert layer.n_active == int(mask.sum())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf, -0.0])
def test_nan_infinity_and_negative_zero_become_zero_where_inactive(dtype: torch.dtype, bad: float) -> None:
    layer = SparseLayer("w", parameter(5, 7, dtype=dtype), mask_of(5, 7))
    values = torch.full((5, 7), bad, dtype=dtype)
    layer.apply_mask(values)
    assert torch.equal(values[~layer.mask], torch.zeros_like(values[~layer.mask]))
    assert not values[~layer.mask].signbit().any()
    assert torch.equal(values[layer.mask].isnan(), torch.full_like(values[layer.mask], bad).isnan())
    assert torch.equal(values[layer.mask].nan_to_num(), torch.full_like(values[layer.mask], bad).nan_to_num())


def test_mask_gradient_masks_the_gradient_if_there_is_one() -> None:
    weight = parameter(5, 7)
    layer = SparseLayer("w", weight, mask_of(5, 7))
    layer.mask_gradient()
    assert weight.grad is None
    weight.grad = torch.ones(5, 7)
    layer.mask_gradient()
    assert torch.equal(weight.grad, layer.mask.float())


def test_set_mask_zeroes_newly_inactive_weights_and_extends_the_explored_ones() -> None:
    first, second = mask_of(5, 7, seed=1), mask_of(5, 7, seed=2)
    layer = SparseLayer("w", parameter(5, 7), first)
    before = layer.weight.detach().clone()
    layer.set_mask(second)
    assert torch.equal(layer.weight, torch.where(first & second, before, 0))
    assert torch.equal(layer.mask, second)
    assert torch.equal(layer.explored, first | second)


def test_restore_sets_mask_explored_weights_and_count() -> None:
    layer = SparseLayer("w", parameter(5, 7), mask_of(5, 7, seed=1))
    mask, explored = mask_of(5, 7, seed=2), mask_of(5, 7, seed=2) | mask_of(5, 7, seed=3)
    layer.restore(mask, explored)
    assert torch.equal(layer.mask, mask)
    assert torch.equal(layer.explored, explored)
    assert layer.n_active == int(mask.sum())
    assert not layer.weight[~mask].any()


def test_a_channels_last_weight_is_masked_at_the_same_positions() -> None:
    weight, mask = parameter(6, 4, 3, 3), mask_of(6, 4, 3, 3)
    plain = weight.detach().clone()
    weight.data = weight.data.to(memory_format=torch.channels_last)
    SparseLayer("w", weight, mask)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(weight, plain * mask)


def test_the_mask_of_the_caller_is_copied() -> None:
    mask = mask_of(5, 7, seed=1)
    layer = SparseLayer("w", parameter(5, 7), mask)
    layer.set_mask(mask_of(5, 7, seed=2))
    assert torch.equal(mask, mask_of(5, 7, seed=1))


def test_an_unsupported_dtype_is_rejected_with_its_name() -> None:
    with pytest.raises(
        ValueError, match=r"^fc\.weight: weights of torch\.complex64 cannot be masked; use float32[^\n]*$"
    ):
        SparseLayer("fc.weight", nn.Parameter(torch.zeros(2, 2, dtype=torch.complex64)), mask_of(2, 2))
