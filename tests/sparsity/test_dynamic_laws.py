"""Properties of DynamicSparsity for any shape, dtype, optimizer and setting: counts, zeros, values and seeds."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dst.config.tree import options
from dst.sparsity import DynamicSparsity
from dst.sparsity.scores import NORMALISATIONS
from tests.sparsity.networks import (
    BIG,
    OPTIMIZERS,
    Layers,
    assert_inactive_is_exactly_zero,
    copied,
    counts,
    equal,
    gradients_for,
    sparse,
    states,
)

law = settings(deadline=None, max_examples=60)


SHAPES = st.lists(st.lists(st.integers(1, 6), min_size=2, max_size=5).map(tuple), min_size=1, max_size=4)


@st.composite
def settings_of(draw: st.DrawFn, scope: str = "local") -> dict[str, Any]:
    momentum = draw(st.sampled_from(["masked", "dense"]))
    growths = [name for name in options("growth") if name != "momentum" or momentum == "dense"]
    return {
        "density": draw(st.one_of(st.floats(1e-3, 1), st.just(1.0))),
        "distribution": draw(st.sampled_from(["erk", "er", "uniform"])),
        "criterion": draw(st.sampled_from(options("criterion"))),
        "growth": draw(st.sampled_from(growths)),
        "update_period": draw(st.integers(1, 3)),
        "prune_fraction": draw(st.one_of(st.sampled_from(["cosine", "linear", "constant"]), st.floats(0, 1))),
        "total_steps": 8,
        "scope": scope,
        "normalise": draw(st.sampled_from(NORMALISATIONS)),
        "update_order": draw(st.sampled_from(["before", "after"])),
        "momentum": momentum,
        "seed": draw(st.integers(0, 2**31)),
    }


KINDS = st.sampled_from(["normal", "zero", "NaN", "infinite"])


DTYPES = st.sampled_from([torch.float32, torch.bfloat16])


NAMES = st.sampled_from(list(OPTIMIZERS))


@law
@given(shapes=SHAPES, dtype=DTYPES, optimizer=NAMES, options=settings_of(), kind=KINDS)
def test_every_step_keeps_counts_and_zeroes_inactive_weights_and_their_optimizer_state(
    shapes: list[tuple[int, ...]], dtype: torch.dtype, optimizer: str, options: dict[str, Any], kind: str
) -> None:
    model = Layers(shapes, dtype)
    sparsity = sparse(model, optimizer, **options)
    before = counts(sparsity.masks)
    assert_inactive_is_exactly_zero(sparsity)
    for _ in range(options["total_steps"]):
        model.draw_gradients(kind)
        sparsity.step()
        assert counts(sparsity.masks) == before
        assert_inactive_is_exactly_zero(sparsity)
        if options["momentum"] == "masked":
            for state, mask in states(sparsity):
                assert not state[~mask].any()


@law
@given(shapes=SHAPES, dtype=DTYPES, optimizer=NAMES, options=settings_of("global"), kind=KINDS)
def test_global_scope_keeps_the_total_count_over_all_layers(
    shapes: list[tuple[int, ...]], dtype: torch.dtype, optimizer: str, options: dict[str, Any], kind: str
) -> None:
    model = Layers(shapes, dtype)
    sparsity = sparse(model, optimizer, **options)
    total, density = sum(counts(sparsity.masks).values()), sparsity.density
    for _ in range(options["total_steps"]):
        model.draw_gradients(kind)
        sparsity.step()
        assert sum(counts(sparsity.masks).values()) == total
        assert_inactive_is_exactly_zero(sparsity)
    assert sparsity.density == density
    for update in sparsity.pop_updates():
        rows = update["layers"].values()
        assert sum(row["active"] for row in rows) == total
        n_prune = math.ceil(update["prune_fraction"] * total)
        assert sum(row["pruned"] for row in rows) == sum(row["grown"] for row in rows) == n_prune


@law
@given(shapes=SHAPES, dtype=DTYPES, options=settings_of(), kind=st.sampled_from(["normal", "zero"]))
def test_an_update_prunes_rho_of_the_active_weights_keeps_regrown_values_and_zeroes_new_ones(
    shapes: list[tuple[int, ...]], dtype: torch.dtype, options: dict[str, Any], kind: str
) -> None:
    model = Layers(shapes, dtype)
    sparsity = sparse(model, **options)
    model.draw_gradients(kind)
    sparsity.step()
    sparsity.pop_updates()
    masks = copied(sparsity.masks)
    weights = {layer.name: layer.weight.detach().clone() for layer in sparsity.layers}
    model.draw_gradients(kind)
    sparsity.update()
    (update,) = sparsity.pop_updates()
    for layer in sparsity.layers:
        both = masks[layer.name] & layer.mask
        assert torch.equal(layer.weight, torch.where(both, weights[layer.name], 0))
        n = math.ceil(update["prune_fraction"] * int(masks[layer.name].sum()))
        assert update["layers"][layer.name] == {"active": int(layer.mask.sum()), "pruned": n, "grown": n}
        assert int((masks[layer.name] & ~layer.mask).sum()) <= n


@law
@given(shapes=SHAPES, dtype=DTYPES, optimizer=NAMES, options=settings_of(), scope=st.sampled_from(["local", "global"]))
def test_equal_seeds_give_equal_masks_and_weights(
    shapes: list[tuple[int, ...]], dtype: torch.dtype, optimizer: str, options: dict[str, Any], scope: str
) -> None:
    def trained() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        model = Layers(shapes, dtype)
        sparsity = sparse(model, optimizer, **(options | {"scope": scope, "criterion": "random", "growth": "random"}))
        for _ in range(6):
            torch.rand(1)  # advances the global generator, which must not matter
            model.draw_gradients()
            sparsity.step()
        return sparsity.masks, dict(model.named_parameters())

    for first, second in zip(trained(), trained(), strict=True):
        assert equal(first, second)


def grown_with(seed: int, same_masks: DynamicSparsity | None = None) -> dict[str, Tensor]:
    model = Layers(BIG)
    sparsity = sparse(model, seed=seed, growth="random")
    if same_masks:
        sparsity.load_state_dict(same_masks.state_dict())
    model.draw_gradients()
    sparsity.update()
    return sparsity.masks


def test_different_seeds_draw_different_masks() -> None:
    assert not equal(sparse(Layers(BIG), seed=1).masks, sparse(Layers(BIG), seed=2).masks)


def test_different_seeds_and_different_steps_grow_different_weights_from_equal_masks() -> None:
    start = sparse(Layers(BIG), seed=9)
    assert equal(grown_with(1, start), grown_with(1, start))
    assert not equal(grown_with(1, start), grown_with(2, start))
    first = grown_with(1, start)
    start.steps = 4
    assert not equal(grown_with(1, start), first)


def test_initial_masks_do_not_depend_on_criterion_growth_period_or_prune_fraction() -> None:
    reference = sparse(Layers(BIG), seed=3).masks
    for change in ({"criterion": "snip"}, {"growth": "gradient"}, {"update_period": None}, {"prune_fraction": 0.1}):
        assert equal(sparse(Layers(BIG), seed=3, **change).masks, reference)


@law
@given(
    criterion=st.sampled_from(options("criterion")), scope=st.sampled_from(["local", "global"]), seed=st.integers(0, 99)
)
def test_results_do_not_depend_on_the_memory_format_of_convolutions(criterion: str, scope: str, seed: int) -> None:
    torch.manual_seed(seed)
    planes = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3), torch.nn.Conv2d(6, 4, (3, 1)))
    models = [planes, copy.deepcopy(planes).to(memory_format=torch.channels_last)]
    masks = []
    for model in models:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        sparsity = DynamicSparsity(
            model, optimizer, density=0.4, criterion=criterion, growth="gradient", update_period=1, total_steps=6,
            scope=scope, seed=seed, hessian_gradient=gradients_for(model),
        )  # fmt: skip
        gradients = torch.Generator().manual_seed(seed)
        for _ in range(5):
            for parameter in model.parameters():
                gradient = torch.randn(parameter.shape, generator=gradients)
                parameter.grad = torch.empty_like(parameter).copy_(gradient)
            sparsity.step()
        masks.append(sparsity.masks)
        assert_inactive_is_exactly_zero(sparsity)
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in masks[0])
    assert all(torch.equal(a, b) for a, b in zip(*(model.parameters() for model in models), strict=True))
