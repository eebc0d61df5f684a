"""Signal propagation at initialisation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from analysis.signal_propagation import SPARSITIES, Setting, measure_signal, uneven_mask

TypeIn = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("shape", [(16, 6, 5, 5), (84, 120), (10, 84)])
def test_a_mask_has_an_exact_sparsity_and_is_sparser_for_earlier_outputs(shape: tuple[int, ...]) -> None:
    mask = uneven_mask(shape, 0.7, torch.Generator().manual_seed(1))
    size = mask.numel()
    assert int(mask.sum()) == size - int(0.7 * size)
    by_output = mask.flatten(1).float().mean(dim=1)
    assert by_output[0] < 0.1
    assert by_output[-len(by_output) // 4 :].mean() > 2 * by_output[: len(by_output) // 2].mean()


@pytest.fixture(scope="module")
def mean() -> pd.DataFrame:
    found = measure_signal(Setting(batch=100, repeats=2))
    assert len(found) == 3 * 15 * 2
    return found.pivot_table(index="sparsity", columns="init", values="std")


def test_the_initialisations_agree_on_a_dense_network(mean: pd.DataFrame) -> None:
    assert tuple(mean.index) == SPARSITIES
    assert (SPARSITIES[0], SPARSITIES[4], SPARSITIES[-1]) == (0.0, 0.28, 0.98)
    assert mean.loc[0.0].tolist() == pytest.approx([mean.loc[0.0, "default"]] * 3)


def test_only_masked_dense_weights_lose_the_signal(mean: pd.DataFrame) -> None:
    at = mean.loc[0.84]
    assert at["default"] < 0.02 * mean.loc[0.0, "default"]
    assert at["layer_scaled"] > at["sparsity_aware"] > 5 * at["default"]  # in this order, as Evci et al. (2022) plot it
    assert mean["default"].is_monotonic_decreasing


def test_the_paper_s_dense_line_is_that_of_the_models_own_weights() -> None:
    found = measure_signal(Setting(base="model", batch=100, repeats=3))
    own = found[found["init"] == "default"].groupby("sparsity")["std"].mean()
    for sparsity, published in {0.0: 0.148, 0.28: 0.079, 0.49: 0.036, 0.84: 0.0010}.items():
        assert published / 1.6 < own[sparsity] < 1.6 * published


def test_the_command_writes_a_table_and_a_figure(type_in: TypeIn, tmp_path: Path) -> None:
    words = ("model=lenet300_100", "shape=1,8,8", "batch=10", "repeats=1", "name=mine", f"results_dir={tmp_path}")
    status, out, err = type_in("signal", *words)
    assert (status, err) == (0, "")
    assert "sparsity_aware" in out
    assert len(pd.read_csv(tmp_path / "mine.csv")) == 45
    assert (tmp_path / "figures" / "mine.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("shape=3x28x28", "shape=3x28x28: give the shape of one input, such as 3,28,28"),
        ("shape=1,4,4", "model=lenet5: cannot be built for the data's 1×4×4 inputs"),
        ("model=lenet", "model=lenet: unknown"),
        ("base=glorot", "base=glorot: unknown; choose one of he, model"),
        ("batch=0", "batch=0: give a whole number, 1 or more"),
        ("name=../x", "name=../x: give the beginning of a file's name"),
    ],
)
def test_a_mistake_is_one_line(word: str, told: str, type_in: TypeIn, tmp_path: Path) -> None:
    status, out, err = type_in("signal", word, f"results_dir={tmp_path / 'results'}")
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {told}")
    assert err.count("\n") == 1
