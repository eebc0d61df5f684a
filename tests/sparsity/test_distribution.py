"""Layer densities of each distribution, and random masks."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dst.sparsity import DISTRIBUTIONS, draw_mask, layer_densities

GOLDEN = Path(__file__).parent / "golden" / "erk_densities.json"
FULL = Path(__file__).parents[3] / "shared" / "golden" / "erk_densities.json"

law = settings(deadline=None, max_examples=200)
SHAPES = st.lists(
    st.one_of(
        st.tuples(st.integers(1, 300), st.integers(1, 300)),
        st.tuples(st.integers(1, 64), st.integers(1, 64), st.integers(1, 5), st.integers(1, 5)),
    ),
    min_size=1,
    max_size=12,
)
DENSITIES = st.floats(1e-4, 1.0)


def erk(shape: tuple[int, ...]) -> float:
    return sum(shape) / math.prod(shape)


def er(shape: tuple[int, ...]) -> float:
    return (shape[0] + shape[1]) / (shape[0] * shape[1])


def overall(shapes: list[tuple[int, ...]], densities: list[float]) -> float:
    sizes = [math.prod(shape) for shape in shapes]
    return sum(density * size for density, size in zip(densities, sizes, strict=True)) / sum(sizes)


@pytest.mark.parametrize("path", [GOLDEN, FULL], ids=["copy", "shared"])
def test_erk_densities_match_those_of_the_authors_within_a_millionth(path: Path) -> None:
    if not path.exists():
        pytest.skip(f"no {path}; its copy is checked")
    models = json.loads(path.read_text())
    assert len(models) >= 4
    for name, model in models.items():
        assert len(model["erk"]) == 11
        for density, expected in model["erk"].items():
            densities = layer_densities(model["layers"], float(density))
            assert densities == pytest.approx(expected, abs=1e-6), (name, density)


@law
@given(shapes=SHAPES, density=DENSITIES, name=st.sampled_from(["erk", "er", "uniform", "balanced"]))
def test_the_overall_density_is_the_requested_one(shapes: list[tuple[int, ...]], density: float, name: str) -> None:
    densities = layer_densities(shapes, density, name)
    assert len(densities) == len(shapes)
    assert all(0 < layer <= 1 for layer in densities)
    assert overall(shapes, densities) == pytest.approx(density, rel=1e-9)


@law
@given(shapes=SHAPES, density=DENSITIES, name=st.sampled_from(["erk", "er"]))
def test_layers_that_stay_sparse_keep_the_proportions_of_the_formula(
    shapes: list[tuple[int, ...]], density: float, name: str
) -> None:
    raw = [(erk if name == "erk" else er)(shape) for shape in shapes]
    densities = layer_densities(shapes, density, name)
    scales = [layer / share for layer, share in zip(densities, raw, strict=True) if layer < 1]
    assert scales == pytest.approx([max(scales)] * len(scales) if scales else [])
    for layer, share in zip(densities, raw, strict=True):
        if layer == 1 and scales:  # dense because the common scale would exceed 1
            assert scales[0] * share > 1 - 1e-9


def test_erk_includes_the_kernel_size_and_er_does_not() -> None:
    shapes = [(16, 8, 3, 3), (100, 50)]
    er_layers, erk_layers = (layer_densities(shapes, 0.05, name) for name in ("er", "erk"))
    assert er_layers[0] / er_layers[1] == pytest.approx((24 / 128) / (150 / 5000))
    assert erk_layers[0] / erk_layers[1] == pytest.approx((30 / 1152) / (150 / 5000))


def test_balanced_gives_every_layer_as_many_weights_and_spreads_what_a_small_one_cannot_hold() -> None:
    shapes = [(40, 50), (10, 10), (50, 60)]
    densities = layer_densities(shapes, 0.2, "balanced")  # 1,020 weights: 340 each, but the second layer holds 100
    counts = [
        int(draw_mask(shape, share, torch.Generator()).sum()) for shape, share in zip(shapes, densities, strict=True)
    ]
    assert counts == [460, 100, 460]
    assert layer_densities(shapes[::-1], 0.2, "balanced") == densities[::-1]


@law
@given(shapes=SHAPES, density=DENSITIES)
def test_balanced_layers_that_stay_sparse_have_equally_many_weights(
    shapes: list[tuple[int, ...]], density: float
) -> None:
    densities = layer_densities(shapes, density, "balanced")
    counts = [share * math.prod(shape) for shape, share in zip(shapes, densities, strict=True)]
    sparse = [count for count, share in zip(counts, densities, strict=True) if share < 1]
    assert sparse == pytest.approx([max(sparse)] * len(sparse) if sparse else [])
    assert all(
        count <= min(sparse, default=math.inf) * (1 + 1e-9)
        for count, share in zip(counts, densities, strict=True)
        if share == 1
    )


def test_uniform_gives_every_layer_the_same_density() -> None:
    assert layer_densities([(16, 3, 3, 3), (100, 50), (10, 100)], 0.2, "uniform") == [0.2, 0.2, 0.2]


def test_uniform_plus_keeps_a_first_convolution_dense_and_a_fifth_of_the_last_layer() -> None:
    shapes = [(16, 3, 3, 3), (64, 16, 3, 3), (128, 64, 3, 3), (10, 128)]
    densities = layer_densities(shapes, 0.1, "uniform_plus")
    assert (densities[0], densities[3]) == (1.0, 0.2)
    assert densities[1] == densities[2] == pytest.approx((0.1 * 84656 - 432 - 0.2 * 1280) / (9216 + 73728))
    assert overall(shapes, densities) == pytest.approx(0.1)


def test_uniform_plus_treats_a_first_linear_layer_like_any_other() -> None:
    shapes = [(300, 784), (100, 300), (10, 100)]
    densities = layer_densities(shapes, 0.1, "uniform_plus")
    assert densities[0] == densities[1] < 0.1
    assert densities[2] == 0.2
    assert overall(shapes, densities) == pytest.approx(0.1)


def test_uniform_plus_uses_the_overall_density_for_the_last_layer_if_above_a_fifth() -> None:
    assert layer_densities([(300, 784), (10, 300)], 0.5, "uniform_plus") == pytest.approx([0.5, 0.5])


def test_uniform_plus_rejects_a_density_too_low_for_its_dense_layers() -> None:
    with pytest.raises(ValueError, match=r"^density=0\.05: distribution='uniform_plus'[^\n]*choose[^\n]*$"):
        layer_densities([(64, 3, 3, 3), (10, 64)], 0.05, "uniform_plus")


@law
@given(shapes=SHAPES, density=DENSITIES)
def test_uniform_plus_keeps_the_overall_density_or_raises(shapes: list[tuple[int, ...]], density: float) -> None:
    sizes = [math.prod(shape) for shape in shapes]
    shares = {len(shapes) - 1: max(density, 0.2)} | ({0: 1.0} if len(shapes[0]) > 2 else {})
    left = density * sum(sizes) - sum(share * sizes[layer] for layer, share in shares.items())
    if left < 0:
        with pytest.raises(ValueError, match=f"^density={re.escape(str(density))}: distribution='uniform_plus'"):
            layer_densities(shapes, density, "uniform_plus")
        return
    densities = layer_densities(shapes, density, "uniform_plus")
    assert all(densities[layer] == share for layer, share in shares.items())
    assert all(0 <= layer <= 1 for layer in densities)
    assert overall(shapes, densities) == pytest.approx(density, rel=1e-9)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_density_one_makes_every_layer_dense(name: str) -> None:
    shapes = [(16, 3, 3, 3), (32, 16, 3, 3), (10, 32)]
    assert layer_densities(shapes, 1.0, name) == pytest.approx([1.0, 1.0, 1.0])


@pytest.mark.parametrize("density", [0, -0.1, 1.0001, math.nan, math.inf])
def test_a_density_outside_zero_to_one_is_rejected(density: float) -> None:
    with pytest.raises(ValueError, match=rf"^density={density}: must lie in \(0, 1\]$"):
        layer_densities([(10, 10)], density)


def test_an_unknown_distribution_is_rejected_with_the_valid_names() -> None:
    with pytest.raises(
        ValueError, match=r"^distribution='erkk': choose one of erk, er, balanced, uniform, uniform_plus$"
    ):
        layer_densities([(10, 10)], 0.1, "erkk")


@law
@given(
    shape=st.lists(st.integers(1, 9), min_size=2, max_size=5), density=st.floats(1e-6, 1.0), seed=st.integers(0, 2**62)
)
def test_masks_have_the_exact_count_and_at_least_one_active_weight(shape: list[int], density: float, seed: int) -> None:
    mask = draw_mask(shape, density, torch.Generator().manual_seed(seed))
    assert (mask.shape, mask.dtype) == (torch.Size(shape), torch.bool)
    assert int(mask.sum()) == max(1, round(density * math.prod(shape)))


def test_every_position_is_active_equally_often() -> None:
    stream = torch.Generator().manual_seed(0)
    share = torch.stack([draw_mask((4, 5), 0.3, stream) for _ in range(3000)]).float().mean(dim=0)
    assert float((share - 0.3).abs().max()) < 0.05


def test_equal_seeds_draw_equal_masks_and_different_seeds_different_ones() -> None:
    first, again, other = (draw_mask((30, 40), 0.5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
