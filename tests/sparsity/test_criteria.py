"""Pruning criteria: formulas, names, and agreement with the masks of the paper's authors."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dst.config.tree import options
from dst.errors import UserError
from dst.sparsity import MEST, Criterion, Magnitude, make_criterion, prune_mask

SMALL = Path(__file__).parent / "golden" / "prune_masks.npz"
"""Six of the sixteen layers of ``FULL``; masks ``m{i}`` are bit-packed, and each key ``kept_…`` is a case."""
FULL = Path(__file__).parents[3] / "shared" / "golden"

WEIGHT = torch.tensor([2.0, -0.5, 0.25, -4.0])
GRAD = torch.tensor([-0.5, 4.0, 0.125, -1.0])
FORMULAS = {
    "magnitude": [2.0, 0.5, 0.25, 4.0],
    "set": [2.0, 0.5, 0.25, 4.0],
    "mest": [2.5, 4.5, 0.375, 5.0],
    "snip": [1.0, 2.0, 0.03125, 4.0],
    "sensitivity": [0.25, 8.0, 0.5, 0.25],
    "rsensitivity": [4.0, 0.125, 2.0, 4.0],
    "taylor_fo": [1.0, 4.0, 0.0009765625, 16.0],
    "grasp": [-1.0, -2.0, 0.03125, 4.0],
    "grad_step": [2.5, 4.5, 0.125, 3.0],
    "snip_half": [1.0, 2.0, 0.03125, 4.0],
    "running_magnitude": [2.0, 0.5, 0.25, 4.0],
    "running_snip": [1.0, 2.0, 0.03125, 4.0],
}


def unpacked(bits: np.ndarray, shape: torch.Size) -> Tensor:
    return torch.from_numpy(np.unpackbits(bits)[: math.prod(shape)].astype(bool)).view(shape)


def golden_difference(weight: Tensor, grad: Tensor, mask: Tensor, name: str, fraction: float, bits: np.ndarray) -> int:
    """Returns in how many weights our mask differs from the authors'; also checks our count."""
    criterion = make_criterion("mest", lam=0.1) if name == "mest_lambda_0.1" else make_criterion(name)
    n_prune = math.ceil(fraction * int(mask.sum()))
    kept = prune_mask(criterion, weight, grad, mask, n_prune)
    assert int(kept.sum()) == int(mask.sum()) - n_prune
    return int((kept ^ unpacked(bits, weight.shape)).sum())


def expected_difference(name: str, fraction: float, n_active: int) -> int:
    """Returns 1 for odd counts with SET, where the authors prune one more negative weight, otherwise 0."""
    return 1 if name == "set" and math.ceil(fraction * n_active) % 2 else 0


def test_all_448_of_the_authors_masks_agree() -> None:
    if not FULL.is_dir():
        pytest.skip(f"no {FULL}; a part of it is checked by the next test")
    arrays, cases = np.load(FULL / "prune_masks.npz"), json.loads((FULL / "prune_masks.json").read_text())
    layers = {i: [torch.from_numpy(arrays[f"{kind}{i}"]) for kind in "wgm"] for i in {case["case"] for case in cases}}
    odd_sets = 0
    for case in cases:
        weight, grad, mask = layers[case["case"]]
        name, fraction = case["criterion"], case["prune_fraction"]
        expected = expected_difference(name, fraction, case["n_active"])
        assert golden_difference(weight, grad, mask.bool(), name, fraction, arrays[case["key"]]) == expected, case
        odd_sets += expected
    assert (len(cases), odd_sets) == (448, 26)


def test_the_authors_masks_of_six_layers_agree() -> None:
    arrays = np.load(SMALL)
    cases = [key for key in arrays.files if key.startswith("kept_")]
    for key in cases:
        name, fraction, layer = key.removeprefix("kept_").rsplit("_", 2)
        weight, grad = (torch.from_numpy(arrays[f"{kind}{layer}"]) for kind in "wg")
        mask = unpacked(arrays[f"m{layer}"], weight.shape)
        expected = expected_difference(name, float(fraction), int(mask.sum()))
        assert golden_difference(weight, grad, mask, name, float(fraction), arrays[key]) == expected, key
    assert len(cases) == 6 * 7 * 4


@pytest.mark.parametrize("name", FORMULAS)
def test_score_is_the_published_formula(name: str) -> None:
    assert make_criterion(name).score(WEIGHT, GRAD).tolist() == FORMULAS[name]


def test_every_criterion_tested_here_is_in_the_config_group() -> None:
    assert {*FORMULAS, "random"} == set(options("criterion"))


def test_mest_weights_the_gradient_by_lambda() -> None:
    assert make_criterion("mest", lam=0.5).score(WEIGHT, GRAD).tolist() == [2.25, 2.5, 0.3125, 4.5]
    assert make_criterion("mest", lam=0).score(WEIGHT, GRAD).tolist() == WEIGHT.abs().tolist()
    assert make_criterion("mest") == MEST(1.0)


def test_grad_step_takes_a_step_of_size_gamma() -> None:
    assert make_criterion("grad_step", gamma=0.5).score(WEIGHT, GRAD).tolist() == [2.25, 2.5, 0.1875, 3.5]


@pytest.mark.parametrize(
    ("n_prune", "pruned"), [(0, []), (1, [1]), (2, [1, 6]), (3, [1, 2, 6]), (6, [1, 2, 3, 4, 5, 6])]
)
def test_snip_half_prunes_both_ends_and_one_low_score_more_when_the_number_is_odd(
    n_prune: int, pruned: list[float]
) -> None:
    weight = torch.tensor([5.0, -3.0, 0.0, 6.0, 1.0, 0.0, -2.0, 4.0])
    mask = weight != 0
    kept = prune_mask("snip_half", weight, torch.ones(8), mask, n_prune)
    assert sorted(weight[mask & ~kept].abs().tolist()) == pruned
    assert not (kept & ~mask).any()


@pytest.mark.parametrize("beta", [-0.1, 1.0, math.nan])
def test_a_running_average_needs_a_beta_below_1(beta: float) -> None:
    with pytest.raises(ValueError, match=r"criterion\.beta=[^\n]*: must lie in \[0, 1\)$"):
        make_criterion("running_snip", beta=beta)


def set_prunes(weights: list[float], n_prune: int, active: list[int] | None = None) -> list[float]:
    """Returns the weights that SET prunes, sorted."""
    weight = torch.tensor(weights, dtype=torch.float32)
    mask = torch.ones(weight.shape, dtype=torch.bool)
    if active is not None:
        mask[:] = False
        mask[active] = True
    kept = prune_mask("set", weight, torch.ones_like(weight), mask, n_prune)
    return sorted(weight[mask & ~kept].tolist())


def test_set_prunes_the_smallest_of_both_signs_in_equal_numbers() -> None:
    assert set_prunes([5, 6, 7, 8, -1, -2, -3, -4], 4) == [-2, -1, 5, 6]


def test_set_prunes_one_positive_more_when_the_number_is_odd() -> None:
    assert set_prunes([5, 6, 7, 8, -1, -2, -3, -4], 5) == [-2, -1, 5, 6, 7]
    assert set_prunes([5, 6, -1, -2], 1) == [5]


@pytest.mark.parametrize(
    ("weights", "n_prune", "pruned"),
    [
        ([1, -2, -3, -4, -5], 4, [-4, -3, -2, 1]),
        ([-2, -3, -4, -5], 3, [-4, -3, -2]),
        ([-1, 2, 3, 4, 5], 4, [-1, 2, 3, 4]),
        ([2, 3, 4, 5], 3, [2, 3, 4]),
        ([1, -1], 2, [-1, 1]),
    ],
)
def test_set_prunes_more_of_one_sign_if_the_other_has_too_few(
    weights: list[float], n_prune: int, pruned: list[float]
) -> None:
    assert set_prunes(weights, n_prune) == pruned


def test_set_counts_only_active_weights_as_candidates_of_a_sign() -> None:
    assert set_prunes([1, 2, -9, -1, -2, -3], 3, active=[0, 1, 2]) == [-9, 1, 2]


def test_set_prunes_an_active_zero_before_positive_weights() -> None:
    assert set_prunes([3, 0, -1, -2], 2) == [-1, 0]


def test_random_draws_only_from_the_given_generator() -> None:
    weight, mask = torch.randn(40, 50), torch.ones(40, 50, dtype=torch.bool)

    def kept(seed: int) -> Tensor:
        torch.rand(3)  # advances the global generator, which must not matter
        return prune_mask("random", weight, weight, mask, 1000, torch.Generator().manual_seed(seed))

    assert torch.equal(kept(1), kept(1))
    assert not torch.equal(kept(1), kept(2))


def test_random_prunes_every_active_weight_equally_often() -> None:
    mask = torch.tensor([True] * 10 + [False] * 6)
    criterion, draws, stream = make_criterion("random"), torch.zeros(16), torch.Generator().manual_seed(0)
    for _ in range(2000):
        draws += ~prune_mask(criterion, torch.arange(16.0), torch.ones(16), mask, 3, stream)
    share = draws[:10] / 2000  # 0.3, standard deviation 0.01
    assert float((share - 0.3).abs().max()) < 0.05


def test_a_custom_criterion_only_needs_a_score_method() -> None:
    @dataclass(frozen=True)
    class Largest(Criterion):
        def score(self, weight: Tensor, grad: Tensor) -> Tensor:
            return -weight.abs()

    kept = prune_mask(Largest(), WEIGHT, GRAD, torch.ones(4, dtype=torch.bool), 2)
    assert kept.tolist() == [False, True, True, False]


def test_an_unknown_name_or_parameter_is_rejected_in_one_line_with_the_valid_ones() -> None:
    with pytest.raises(
        UserError, match=r"^criterion=magnitud: unknown; did you mean magnitude\?.*rsensitivity"
    ) as name:
        make_criterion("magnitud")
    with pytest.raises(UserError, match=r"^criterion\.lamda=1: unknown; did you mean lam\?") as parameter:
        make_criterion("mest", lamda=1)
    with pytest.raises(UserError, match=r"^criterion\.lam=much: ") as value:
        make_criterion("mest", lam="much")
    assert all("\n" not in str(error.value) for error in (name, parameter, value))


def test_a_criterion_can_be_a_name_or_an_object() -> None:
    mask = torch.tensor([True, True, False, True])
    for criterion in ("magnitude", Magnitude()):
        assert prune_mask(criterion, WEIGHT, GRAD, mask, 1).tolist() == [True, False, False, True]
