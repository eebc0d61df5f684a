"""Wrong labels on purpose: exactly so many, in the training split alone, equal for all seeds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dst.config import checked, compose, run_id
from dst.data import load
from dst.data.label_noise import noisy_labels


@given(st.integers(0, 500), st.floats(0, 1, exclude_max=True), st.integers(2, 20), st.integers(0, 2**32 - 1))
def test_exactly_the_share_gets_another_class(count: int, share: float, classes: int, seed: int) -> None:
    labels = np.arange(count) % classes
    noisy = noisy_labels(labels, share, classes, seed)
    assert (noisy != labels).sum() == round(share * count)
    assert not len(noisy) or (noisy.min() >= 0 and noisy.max() < classes)
    assert (noisy == noisy_labels(labels, share, classes, seed)).all()


def test_wrong_classes_are_drawn_uniformly() -> None:
    noisy = noisy_labels(np.zeros(30_000, dtype=np.int64), 0.5, 4, 1)
    counts = np.bincount(noisy, minlength=4)
    assert counts[0] == 15_000
    assert abs(counts[1:] - 5_000).max() < 250


def test_only_training_labels_are_wrong_and_seeds_share_them(
    overrides: Callable[..., list[str]], data_dir: Path
) -> None:
    def labels(*more: str) -> list[torch.Tensor]:
        config = checked(compose(overrides(*more)))
        data = load(config.dataset, data_dir, device=torch.device("cpu"), batch_size=2000, seed=config.seed)
        return [data.train.raw_sample(1257)[1], *(next(iter(part))[1] for part in (data.val, data.test))]

    clean, noisy, other = labels(), labels("dataset.label_noise=0.15"), labels("dataset.label_noise=0.15", "seed=7")
    assert int((noisy[0] != clean[0]).sum()) == round(0.15 * 1257)
    assert torch.equal(noisy[1], clean[1])
    assert torch.equal(noisy[2], clean[2])
    assert all(torch.equal(one, two) for one, two in zip(noisy, other, strict=True))


def test_it_is_part_of_the_run_id_where_there_is_any(overrides: Callable[..., list[str]]) -> None:
    ids = [run_id(compose(overrides(*more))) for more in ((), ("dataset.label_noise=0",), ("dataset.label_noise=0.1",))]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("share", ["-0.1", "1"])
def test_a_share_that_cannot_be_is_one_line(share: str, type_in: Callable[..., tuple[int, str, str]]) -> None:
    status, _, err = type_in("dataset=digits", "model=small_mlp", f"dataset.label_noise={share}")
    assert status == 2
    assert err.startswith("error: dataset.label_noise=")
    assert "must lie in [0, 1)" in err
    assert err.count("\n") == 1
