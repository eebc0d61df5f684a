"""Growth by a gradient that the caller supplies in place of the batch's."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from dst.sparsity import Constant, DynamicSparsity, GradientGrowth, make_growth

ROWS = torch.arange(12.0).view(3, 4)
"""Its highest values are those of the last row."""


def sparse(growth: object, **more: object) -> DynamicSparsity:
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    choices = {"density": 0.25, "update_period": 2, "total_steps": 4, "prune_fraction": Constant(1.0), **more}
    return DynamicSparsity(model, optimizer, growth=growth, **choices)  # type: ignore[arg-type]


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize(("growth", "expected"), [("gradient", [9, 10, 11]), ("gradient_inverted", [0, 1, 2])])
def test_weights_grow_by_the_gradient_that_is_given_and_not_by_the_batchs(
    growth: str, expected: list[int], scope: str
) -> None:
    asked: list[int] = []

    def gradient(step: int) -> Mapping[str, Tensor]:
        asked.append(step)
        return {"weight": ROWS}

    rule = make_growth(growth, sample=7)
    sparsity = sparse(rule, growth_gradient=gradient, scope=scope)
    for _ in range(3):
        sparsity.layers[0].parameter.grad = -torch.arange(11.0, -1, -1).view(3, 4)  # the batch's grows the first row
        sparsity.step()
    assert asked == [2]
    assert sparsity.masks["weight"].flatten().nonzero().flatten().tolist() == expected
    assert sparsity.dense_gradients == "never"


def test_a_growth_gradient_that_would_be_missing_or_unused_is_refused() -> None:
    with pytest.raises(ValueError, match=r"growth\.sample=5: give growth_gradient"):
        sparse(GradientGrowth(sample=5))
    with pytest.raises(ValueError, match="RandomGrowth grows by no gradient"):
        sparse("random", growth_gradient=lambda step: {"weight": ROWS})
