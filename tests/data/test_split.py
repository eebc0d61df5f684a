"""Splits: exact counts, stratification, and the sizes of the paper's datasets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dst.data.split import stratified_split, validation_count
from dst.errors import UserError
from tests.data.raw import config

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=200).map(lambda labels: np.array(labels, dtype=np.int64))


@settings(deadline=None, max_examples=100)
@given(labels=LABELS, share=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_a_split_is_exact_stratified_sorted_and_reproducible(labels: np.ndarray, share: float, seed: int) -> None:
    count = round(share * len(labels))
    kept, held = stratified_split(labels, count, seed)
    assert len(held) == count
    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held) > 0).all()
    for label in np.unique(labels):
        exact = (labels == label).sum() * count / len(labels)
        assert abs((labels[held] == label).sum() - exact) < 1
    for part, again in zip((kept, held), stratified_split(labels, count, seed), strict=True):
        assert np.array_equal(part, again)


def test_another_seed_holds_out_other_samples() -> None:
    labels = np.arange(1000) % 10
    first, second = (stratified_split(labels, 100, seed)[1] for seed in (0, 1))
    assert len(np.intersect1d(first, second)) < 50


def test_the_split_is_stable_across_versions() -> None:
    _, held = stratified_split(np.arange(60) % 3, 6, seed=0)
    assert held.tolist() == [3, 4, 34, 41, 47, 54]


@pytest.mark.parametrize(
    ("dataset", "train_size", "train", "val"),
    [
        ("digits", 1797 - 270, 1257, 270),
        ("higgs", 940_160 - 141_024, 658_112, 141_024),
        ("cifar10", 50_000, 45_000, 5_000),
        ("cifar100", 50_000, 45_000, 5_000),
        ("fashion_mnist", 60_000, 54_000, 6_000),
        ("tiny_imagenet", 100_000, 90_000, 10_000),
        ("imagenet", 1_281_167, 1_281_167, 0),
        ("image_folder", 50_000, 45_000, 5_000),
    ],
)
def test_split_sizes_equal_those_of_the_paper(dataset: str, train_size: int, train: int, val: int) -> None:
    count = validation_count(config(dataset).val_size, train_size)
    assert (train_size - count, count) == (train, val)


@pytest.mark.parametrize(
    ("val_size", "message"),
    [(2.5, "a whole number of samples"), (100, "train has 100 samples, and some must be left"), (0.999, "some must")],
)
def test_an_impossible_validation_size_raises(val_size: float, message: str) -> None:
    with pytest.raises(UserError, match=rf"^dataset\.val_size={val_size}: [^\n]*{message}"):
        validation_count(val_size, 100)
