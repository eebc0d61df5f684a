"""Properties of prune_mask and grow_mask for any layer: exact counts, order, and candidates only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from dst.config.tree import options
from dst.sparsity import Criterion, Growth, grow_mask, make_criterion, make_growth, prune_mask

torch.set_num_threads(1)
law = settings(deadline=None, max_examples=100)

VALUES = ("normal", "ties", "zero gradients", "zero", "NaN gradients", "infinite gradients", "NaN", "tiny", "huge")
ORDERED = ["magnitude", "mest", "snip", "sensitivity", "rsensitivity", "taylor_fo", "grad_step"]


@dataclass(frozen=True)
class Layer:
    """A layer, or a stack of layers."""

    weight: Tensor
    grad: Tensor
    mask: Tensor

    @property
    def n_active(self) -> int:
        return int(self.mask.sum())

    @property
    def n_inactive(self) -> int:
        return int((~self.mask).sum())


def values_of(kind: str, shape: tuple[int, ...], stream: torch.Generator) -> tuple[Tensor, Tensor]:
    weight, grad = torch.randn(2, *shape, generator=stream, dtype=torch.float64)
    some = torch.rand(shape, generator=stream) < 0.5
    match kind:
        case "ties":
            weight, grad = weight.round(), grad.round()
        case "zero gradients":
            grad = torch.zeros_like(grad)
        case "zero":
            weight, grad = torch.zeros_like(weight), torch.zeros_like(grad)
        case "NaN gradients":
            grad = grad.masked_fill(some, torch.nan)
        case "infinite gradients":
            grad = grad.masked_fill(some, -torch.inf)
        case "NaN":
            weight, grad = weight.masked_fill(some, torch.nan), torch.full_like(grad, torch.nan)
        case "tiny":
            weight, grad = weight * 1e-30, grad * 1e-30
        case "huge":
            weight, grad = weight * 1e30, grad * 1e30
    return weight, grad


@st.composite
def layers(draw: st.DrawFn, kinds: tuple[str, ...] = VALUES, stack: int = 0) -> Layer:
    """Any Linear or Conv shape, density, type and values; inactive weights are 0 as they are in training."""
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=2, max_size=5)))
    shape = (stack, *shape) if stack else shape
    stream = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from([torch.float32, torch.bfloat16]))
    weight, grad = values_of(draw(st.sampled_from(kinds)), shape, stream)
    mask = torch.rand(shape, generator=stream) < draw(st.one_of(st.floats(0, 1), st.just(1.0)))
    return Layer((weight * mask).to(dtype).masked_fill(~mask, 0), grad.to(dtype), mask)


FRACTIONS = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0]))
CRITERIA = st.sampled_from(options("criterion"))
GROWTHS = st.sampled_from(options("growth"))
SEEDS = st.integers(0, 2**62)


@cache
def criterion_of(name: str) -> Criterion:
    return make_criterion(name)


@cache
def growth_of(name: str) -> Growth:
    return make_growth(name)


def stream_of(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lowest(scores: Tensor, candidates: Tensor, count: int) -> Tensor:
    """Reference selection: sorts the candidates by score, NaN first, then by position."""
    flat = scores.flatten().double().nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf).tolist()
    order = sorted(candidates.flatten().nonzero().flatten().tolist(), key=lambda i: (flat[i], i))
    chosen = torch.zeros(candidates.numel(), dtype=torch.bool)
    chosen[order[:count]] = True
    return chosen.view(candidates.shape)


@law
@given(layer=layers(), name=CRITERIA, fraction=FRACTIONS, seed=SEEDS)
def test_prune_removes_the_exact_count_of_active_weights(layer: Layer, name: str, fraction: float, seed: int) -> None:
    n_prune = math.ceil(fraction * layer.n_active)
    kept = prune_mask(criterion_of(name), layer.weight, layer.grad, layer.mask, n_prune, stream_of(seed))
    assert (kept.shape, kept.dtype) == (layer.mask.shape, torch.bool)
    assert not (kept & ~layer.mask).any()
    assert int(kept.sum()) == layer.n_active - n_prune


@law
@given(layer=layers(), name=GROWTHS, fraction=FRACTIONS, seed=SEEDS)
def test_grow_adds_the_exact_count_of_inactive_weights(layer: Layer, name: str, fraction: float, seed: int) -> None:
    n_grow = math.floor(fraction * layer.n_inactive)
    grown = grow_mask(growth_of(name), layer.weight, layer.grad, layer.mask, n_grow, stream_of(seed))
    assert (grown.shape, grown.dtype) == (layer.mask.shape, torch.bool)
    assert not (layer.mask & ~grown).any()
    assert int(grown.sum()) == layer.n_active + n_grow


@law
@given(layer=layers(), criterion=CRITERIA, growth=GROWTHS, fraction=FRACTIONS, seed=SEEDS)
def test_prune_then_grow_keeps_the_count(layer: Layer, criterion: str, growth: str, fraction: float, seed: int) -> None:
    n, stream = math.ceil(fraction * layer.n_active), stream_of(seed)
    kept = prune_mask(criterion_of(criterion), layer.weight, layer.grad, layer.mask, n, stream)
    grown = grow_mask(growth_of(growth), layer.weight, layer.grad, kept, n, stream)
    assert int(grown.sum()) == layer.n_active
    assert not (kept & ~grown).any()


@law
@given(layer=layers(), name=st.sampled_from(ORDERED), fraction=FRACTIONS)
def test_the_lowest_scores_are_pruned_nan_first_and_ties_by_position(layer: Layer, name: str, fraction: float) -> None:
    n_prune = math.ceil(fraction * layer.n_active)
    scores = criterion_of(name).score(layer.weight, layer.grad)
    kept = prune_mask(criterion_of(name), layer.weight, layer.grad, layer.mask, n_prune)
    assert torch.equal(kept, layer.mask & ~lowest(scores, layer.mask, n_prune))


@law
@given(layer=layers(), fraction=FRACTIONS)
def test_set_prunes_half_of_each_sign_or_all_of_one_sign(layer: Layer, fraction: float) -> None:
    n_prune = math.ceil(fraction * layer.n_active)
    positive, negative = layer.mask & (layer.weight >= 0), layer.mask & ~(layer.weight >= 0)
    n_positive = min((n_prune + 1) // 2, int(positive.sum()))
    n_negative = min(n_prune - n_positive, int(negative.sum()))
    n_positive = n_prune - n_negative  # more if there are too few negative weights
    pruned = lowest(layer.weight.abs(), positive, n_positive) | lowest(layer.weight.abs(), negative, n_negative)
    kept = prune_mask(criterion_of("set"), layer.weight, layer.grad, layer.mask, n_prune)
    assert torch.equal(kept, layer.mask & ~pruned)


@law
@given(layer=layers(kinds=("normal", "ties", "zero gradients", "tiny", "huge")), fraction=FRACTIONS)
def test_the_largest_gradients_grow_and_ties_are_broken_by_position(layer: Layer, fraction: float) -> None:
    n_grow = math.floor(fraction * layer.n_inactive)
    grown = grow_mask(growth_of("gradient"), layer.weight, layer.grad, layer.mask, n_grow)
    assert torch.equal(grown, layer.mask | lowest(-layer.grad.abs(), ~layer.mask, n_grow))


@law
@given(layer=layers(stack=3), name=CRITERIA, fractions=st.tuples(FRACTIONS, FRACTIONS, FRACTIONS), seed=SEEDS)
def test_a_stack_is_pruned_like_each_layer_separately(
    layer: Layer, name: str, fractions: tuple[float, ...], seed: int
) -> None:
    counts = [math.ceil(fraction * int(mask.sum())) for fraction, mask in zip(fractions, layer.mask, strict=True)]
    stacked = prune_mask(criterion_of(name), layer.weight, layer.grad, layer.mask, counts, stream_of(seed))
    stream = stream_of(seed)
    separate = [
        prune_mask(criterion_of(name), weight, grad, mask, count, stream)
        for weight, grad, mask, count in zip(layer.weight, layer.grad, layer.mask, counts, strict=True)
    ]
    assert torch.equal(stacked, torch.stack(separate))


@law
@given(layer=layers(stack=3), name=GROWTHS, fractions=st.tuples(FRACTIONS, FRACTIONS, FRACTIONS), seed=SEEDS)
def test_a_stack_is_grown_like_each_layer_separately(
    layer: Layer, name: str, fractions: tuple[float, ...], seed: int
) -> None:
    counts = [math.floor(fraction * int((~mask).sum())) for fraction, mask in zip(fractions, layer.mask, strict=True)]
    stacked = grow_mask(growth_of(name), layer.weight, layer.grad, layer.mask, counts, stream_of(seed))
    stream = stream_of(seed)
    separate = [
        grow_mask(growth_of(name), weight, grad, mask, count, stream)
        for weight, grad, mask, count in zip(layer.weight, layer.grad, layer.mask, counts, strict=True)
    ]
    assert torch.equal(stacked, torch.stack(separate))


@law
@given(layer=layers(), criterion=CRITERIA, growth=GROWTHS, fraction=FRACTIONS, seed=SEEDS)
def test_equal_seeds_give_equal_masks(layer: Layer, criterion: str, growth: str, fraction: float, seed: int) -> None:
    n = math.ceil(fraction * layer.n_active)

    def updated() -> Tensor:
        stream = stream_of(seed)
        kept = prune_mask(criterion_of(criterion), layer.weight, layer.grad, layer.mask, n, stream)
        return grow_mask(growth_of(growth), layer.weight, layer.grad, kept, n, stream)

    first = updated()
    torch.rand(1)  # advances the global generator, which must not matter
    assert torch.equal(first, updated())


@law
@given(layer=layers(), criterion=CRITERIA, growth=GROWTHS, fraction=FRACTIONS)
def test_an_update_does_not_modify_its_inputs(layer: Layer, criterion: str, growth: str, fraction: float) -> None:
    before = [tensor.clone() for tensor in (layer.weight, layer.grad, layer.mask)]
    n = math.ceil(fraction * layer.n_active)
    kept = prune_mask(criterion_of(criterion), layer.weight, layer.grad, layer.mask, n)
    kept_before = kept.clone()
    grow_mask(growth_of(growth), layer.weight, layer.grad, kept, n)
    for tensor, copy in zip((layer.weight, layer.grad, layer.mask, kept), [*before, kept_before], strict=True):
        assert torch.equal(tensor.nan_to_num(), copy.nan_to_num())
        assert torch.equal(tensor.isnan(), copy.isnan())


@law
@given(layer=layers(kinds=("normal", "ties")), criterion=st.sampled_from(["set", *ORDERED]), fraction=FRACTIONS)
def test_results_do_not_depend_on_strides(layer: Layer, criterion: str, fraction: float) -> None:
    n = math.ceil(fraction * layer.n_active)
    tensors = (layer.weight, layer.grad, layer.mask)
    strided = [tensor.transpose(0, 1).contiguous().transpose(0, 1) for tensor in tensors]
    assert torch.equal(
        prune_mask(criterion_of(criterion), *tensors, n), prune_mask(criterion_of(criterion), *strided, n)
    )
    assert torch.equal(grow_mask(growth_of("gradient"), *tensors, 0), layer.mask)


@law
@given(layer=layers(), name=CRITERIA, more=st.integers(1, 5))
def test_pruning_more_than_the_active_weights_is_rejected_with_both_counts(layer: Layer, name: str, more: int) -> None:
    n_prune = layer.n_active + more
    with pytest.raises(
        ValueError, match=rf"^cannot prune \[{n_prune}\] weights: the layer has \[{layer.n_active}\] active"
    ):
        prune_mask(criterion_of(name), layer.weight, layer.grad, layer.mask, n_prune)


@law
@given(layer=layers(), name=GROWTHS, more=st.integers(1, 5))
def test_growing_more_than_the_inactive_weights_is_rejected_with_both_counts(
    layer: Layer, name: str, more: int
) -> None:
    n_grow = layer.n_inactive + more
    with pytest.raises(
        ValueError, match=rf"^cannot grow \[{n_grow}\] weights: the layer has \[{layer.n_inactive}\] inactive"
    ):
        grow_mask(growth_of(name), layer.weight, layer.grad, layer.mask, n_grow)


def test_a_stack_with_one_layer_of_too_few_candidates_is_rejected() -> None:
    mask = torch.tensor([[True, True, True], [True, False, False]])
    with pytest.raises(ValueError, match=r"^cannot prune \[2, 2\] weights: the layer has \[3, 1\] active ones$"):
        prune_mask("magnitude", torch.ones(2, 3), torch.ones(2, 3), mask, [2, 2])


def test_a_negative_count_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"^cannot prune \[-1\]"):
        prune_mask("magnitude", torch.ones(2, 3), torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool), -1)


@pytest.mark.parametrize("name", options("criterion"))
@pytest.mark.parametrize("grad", [0.0, torch.nan, torch.inf])
def test_the_only_active_weight_is_pruned_even_with_the_highest_score(name: str, grad: float) -> None:
    weight, mask = torch.zeros(4, 5), torch.zeros(4, 5, dtype=torch.bool)
    weight[2, 3], mask[2, 3] = 1e6, True  # more important than the inactive zeros by every criterion
    grads = torch.full((4, 5), grad)
    assert torch.equal(prune_mask(name, weight, grads, mask, 0), mask)
    assert not prune_mask(name, weight, grads, mask, 1).any()


@pytest.mark.parametrize("name", options("criterion"))
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_bfloat16_layer_with_only_ties_prunes_the_exact_count(name: str, device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    weight = torch.ones(300, 300, dtype=torch.bfloat16, device=device)
    mask = torch.rand(300, 300, generator=stream_of(0)).to(device) < 0.5
    kept = prune_mask(name, weight, weight, mask, 12345)
    assert int(kept.sum()) == int(mask.sum()) - 12345


@pytest.mark.parametrize("criterion", options("criterion"))
@pytest.mark.parametrize("growth", options("growth"))
def test_an_update_does_not_read_values_on_the_host(criterion: str, growth: str) -> None:
    """Tensors on the meta device have no values; reading one raises."""
    weight, grad = torch.empty(2, 3, 8, 6, device="meta")
    mask = torch.empty(3, 8, 6, dtype=torch.bool, device="meta")
    kept = prune_mask(criterion, weight, grad, mask, [3, 1, 0])
    assert grow_mask(growth, weight, grad, kept, [3, 1, 0]).shape == mask.shape
    with pytest.raises(RuntimeError):
        bool(kept.any())


@law
@given(layer=layers(), name=st.sampled_from(["set", *ORDERED]), fraction=FRACTIONS)
@example(
    layer=Layer(torch.zeros(3, 4), torch.zeros(3, 4), torch.ones(3, 4, dtype=torch.bool)), name="snip", fraction=0.4
)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_prunes_and_grows_the_same_weights_as_the_cpu(layer: Layer, name: str, fraction: float) -> None:
    n = math.ceil(fraction * layer.n_active)
    criterion, growth = criterion_of(name), growth_of("gradient")
    masks = []
    for device in ("cpu", "cuda"):
        weight, grad, mask = (tensor.to(device) for tensor in (layer.weight, layer.grad, layer.mask))
        kept = prune_mask(criterion, weight, grad, mask, n)
        masks += [kept.cpu(), grow_mask(growth, weight, grad, kept, n).cpu()]
    assert torch.equal(masks[0], masks[2])
    assert torch.equal(masks[1], masks[3])
