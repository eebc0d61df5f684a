"""Growth rules: which inactive weights are grown."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dst.errors import UserError
from dst.sparsity import (
    GradientGrowth,
    Growth,
    InvertedGradientGrowth,
    MomentumGrowth,
    RandomGrowth,
    grow_mask,
    make_growth,
)

MASK = torch.tensor([True, False, False, False, True])
WEIGHT = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0])


def grown(growth: str | Growth, grad: list[float], n_grow: int, stream: torch.Generator | None = None) -> list[int]:
    after = grow_mask(growth, WEIGHT, torch.tensor(grad, dtype=torch.float32), MASK, n_grow, stream)
    return (after & ~MASK).nonzero().flatten().tolist()


@pytest.mark.parametrize("growth", ["gradient", "momentum"])
def test_the_inactive_weights_with_the_largest_absolute_signal_grow(growth: str) -> None:
    assert grown(growth, [9, 1, -3, 2, -9], 1) == [2]
    assert grown(growth, [9, 1, -3, 2, -9], 2) == [2, 3]


@given(data=st.data())
def test_inverted_growth_takes_the_inactive_weights_with_the_smallest_absolute_gradient(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 40))
    grad = data.draw(st.lists(st.integers(-5, 5), min_size=size, max_size=size))  # with ties, and zeros among them
    mask = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    inactive = [position for position in range(size) if not mask[position]]
    count = data.draw(st.integers(0, len(inactive)))
    expected = list(mask)
    for position in sorted(inactive, key=lambda position: (abs(grad[position]), position))[:count]:
        expected[position] = True
    gradient = torch.tensor(grad, dtype=torch.float32)
    found = grow_mask("gradient_inverted", torch.ones(size), gradient, torch.tensor(mask), count)
    assert found.tolist() == expected


def test_each_growth_rule_declares_its_signal() -> None:
    signals = {name: make_growth(name).signal for name in ("random", "gradient", "gradient_inverted", "momentum")}
    assert signals == {
        "random": "none",
        "gradient": "gradient",
        "gradient_inverted": "gradient",
        "momentum": "momentum",
    }


def test_random_growth_ignores_the_gradient() -> None:
    def draw(grad: list[float]) -> list[list[int]]:
        stream = torch.Generator().manual_seed(7)
        return [grown("random", grad, 1, stream) for _ in range(20)]

    assert draw([0, 1, 2, 3, 4]) == draw([4, 3, 2, 1, 0])


def test_random_growth_selects_every_inactive_weight_equally_often() -> None:
    counts, stream = torch.zeros(5), torch.Generator().manual_seed(0)
    for _ in range(1500):
        counts[grown(RandomGrowth(), [0.0] * 5, 1, stream)] += 1
    assert counts[MASK].tolist() == [0, 0]
    assert float((counts[~MASK] / 1500 - 1 / 3).abs().max()) < 0.05


def test_random_growth_draws_only_from_the_given_generator() -> None:
    weight, mask = torch.zeros(30, 30), torch.zeros(30, 30, dtype=torch.bool)

    def draw(seed: int) -> Tensor:
        torch.rand(5)
        return grow_mask("random", weight, weight, mask, 90, torch.Generator().manual_seed(seed))

    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))


def test_zero_gradients_grow_the_exact_count() -> None:
    assert grown("gradient", [0.0] * 5, 2) == [1, 2]


def test_nan_and_infinite_gradients_grow_the_exact_count_of_inactive_weights() -> None:
    for bad in (torch.nan, torch.inf, -torch.inf):
        assert grown("gradient", [bad] * 5, 2) == [1, 2]
        assert len(grown("gradient", [bad, 0, 1, bad, bad], 2)) == 2
    assert grown("gradient", [1, torch.inf, 2, 3, 1], 1) == [1]


def test_growth_rules_have_the_names_of_the_config_group() -> None:
    assert make_growth("random") == RandomGrowth()
    assert make_growth("gradient") == GradientGrowth()
    assert make_growth("gradient_inverted") == InvertedGradientGrowth()
    assert make_growth("momentum") == MomentumGrowth()
    with pytest.raises(UserError, match=r"^growth=gradients: unknown; did you mean gradient\?[^\n]*$"):
        make_growth("gradients")
