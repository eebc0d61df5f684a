"""Weights drawn by the number of active inputs of each neuron."""

from __future__ import annotations

import math

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from torch import Tensor, nn

from dst.sparsity import layer_scaled_init, sparsifiable_weights, sparsity_aware_init


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uneven_mask(shape: torch.Size, seed: int = 0) -> Tensor:
    """A mask whose rows have very different numbers of active weights, the first none."""
    rows = torch.linspace(0, 0.9, shape[0]).view(-1, *[1] * (len(shape) - 1))
    return torch.rand(shape, generator=generator(seed)) < rows


def slow_fans(mask: Tensor, layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Fan-in and fan-out of each weight, by asking for every pair of weights whether they meet in a neuron."""
    transposed = isinstance(layer, nn.ConvTranspose2d)
    groups = getattr(layer, "groups", 1)
    fan_in, fan_out = torch.zeros(mask.shape), torch.zeros(mask.shape)
    per_group = mask.shape[0] // groups
    for row, column in ((row, column) for row in range(mask.shape[0]) for column in range(mask.shape[1])):
        of_row = int(mask[row].sum())
        first = row // per_group * per_group
        of_column = sum(int(mask[other, column].sum()) for other in range(first, first + per_group))
        fan_in[row, column], fan_out[row, column] = (of_column, of_row) if transposed else (of_row, of_column)
    return fan_in, fan_out


LAYERS = {
    "linear": lambda: nn.Linear(20, 12),
    "convolution": lambda: nn.Conv2d(6, 8, 3),
    "grouped": lambda: nn.Conv2d(6, 9, 3, groups=3),
    "transposed": lambda: nn.ConvTranspose2d(6, 8, 3),
    "transposed in groups": lambda: nn.ConvTranspose2d(6, 4, 3, groups=2),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
def test_each_weight_is_drawn_by_its_own_fan_like_a_loop_over_neurons(kind: str, mode: str) -> None:
    layer = LAYERS[kind]()
    mask = uneven_mask(layer.weight.shape)
    bias = layer.bias.clone()
    sparsity_aware_init(layer, {"weight": mask}, mode=mode, generator=generator(3))
    fan_in, fan_out = slow_fans(mask, layer)
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
    expected = torch.randn(mask.shape, generator=generator(3)) * (2 / fan.clamp(min=1)).sqrt() * mask
    torch.testing.assert_close(layer.weight.detach(), expected)
    assert torch.equal(layer.bias, bias)
    assert not bool(layer.weight[~mask].any())


def test_a_uniform_draw_stays_within_its_limit_and_has_the_variance() -> None:
    layer = nn.Linear(400, 300)
    mask = uneven_mask(layer.weight.shape)
    sparsity_aware_init(layer, {"weight": mask}, scale=1.0, distribution="uniform", generator=generator(1))
    limit = (3 / mask.sum(dim=1, keepdim=True).clamp(min=1)).sqrt()
    share = (layer.weight.detach() / limit)[mask]
    assert float(share.abs().max()) <= 1
    assert float(share.var()) == pytest.approx(1 / 3, rel=0.02)


@hypothesis.given(
    inputs=st.integers(150, 600),
    outputs=st.integers(150, 400),
    seed=st.integers(0, 99),
    sparsity=st.sampled_from([0.9]),
)
@hypothesis.settings(max_examples=20)
def test_the_variance_of_preactivations_stays_that_of_a_dense_layer_where_the_default_shrinks(
    inputs: int, outputs: int, seed: int, sparsity: float
) -> None:
    torch.manual_seed(seed)
    x = torch.randn(500, inputs)
    mask = torch.rand(outputs, inputs, generator=generator(seed)) < 1 - sparsity
    variances = {}
    for name, masks in (("dense", {}), ("sparse", {"weight": mask})):
        layer = nn.Linear(inputs, outputs, bias=False)
        sparsity_aware_init(layer, masks, generator=generator(seed + 100))
        variances[name] = float(layer(x).detach().var())
    assert variances["sparse"] == pytest.approx(variances["dense"], rel=0.1)
    default = nn.Linear(inputs, outputs, bias=False)
    before = float(default(x).detach().var())
    with torch.no_grad():
        default.weight *= mask
    assert float(default(x).detach().var()) < 0.2 * before


def test_layer_scaled_weights_are_the_default_ones_by_one_factor_a_layer() -> None:
    model = nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 10), nn.Linear(10, 2))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    masks = {"0.weight": uneven_mask(torch.Size((20, 30))), "2.weight": torch.zeros(10, 20, dtype=torch.bool)}
    layer_scaled_init(model, masks)
    after = model.state_dict()
    density = float(masks["0.weight"].float().mean())
    torch.testing.assert_close(after["0.weight"], before["0.weight"] * masks["0.weight"] / math.sqrt(density))
    assert not bool(after["2.weight"].any())
    unchanged = set(before) - {"0.weight", "2.weight"}
    assert all(torch.equal(after[name], before[name]) for name in unchanged)


def test_only_sparsifiable_weights_are_drawn_anew() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm(4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sparsity_aware_init(model, {}, generator=generator())
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == set(sparsifiable_weights(model))


@pytest.mark.parametrize("wrong", [{"mode": "fan"}, {"distribution": "gamma"}, {"scale": 0.0}])
def test_another_mode_distribution_or_scale_is_refused(wrong: dict[str, object]) -> None:
    layer = nn.Linear(3, 3)
    before = layer.weight.clone()
    with pytest.raises(ValueError, match=next(iter(wrong))):
        sparsity_aware_init(layer, {}, **wrong)  # type: ignore[arg-type]
    assert torch.equal(layer.weight, before)
