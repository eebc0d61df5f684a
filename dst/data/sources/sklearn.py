"""Datasets included in scikit-learn or fetched from OpenML."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dst.data.raw_data import missing_data_error, raw_root, short_download_timeout
from dst.data.split import stratified_split
from dst.data.store import Arrays

if TYPE_CHECKING:
    from dst.config import DatasetConfig

_TEST_SHARE = 0.15
_TEST_SEED = 0  # fixed, not the config's split_seed: the test set is the same in every run


def digits(cfg: DatasetConfig, data_dir: Path) -> tuple[Arrays, str]:
    """1,797 handwritten digits of 8×8 pixels, included in scikit-learn; their 17 grey levels are scaled to 0…255.

    Args:
        cfg: not used.
        data_dir: not used.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)[:, None]
    return _with_test_set(images, data.target.astype(np.int64)), "scikit-learn"


def higgs(cfg: DatasetConfig, data_dir: Path) -> tuple[Arrays, str]:
    """Higgs: 940,160 collisions, 24 features, 2 classes (OpenML 44129).

    Args:
        cfg: ``root`` is the ``data_home`` of ``fetch_openml``; None: ``data_dir``.
        data_dir: folder of all datasets.

    Raises:
        UserError: when it is not cached and cannot be downloaded.
    """
    import warnings

    from sklearn.datasets import fetch_openml

    home, caught = raw_root(cfg, data_dir), []
    try:
        with short_download_timeout(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")  # scikit-learn warns of damaged files and removes them
            # the pandas parser fails for numeric class names
            data = fetch_openml(data_id=44129, data_home=str(home), as_frame=False, parser="liac-arff", n_retries=1)
    except Exception as error:  # scikit-learn raises many types for failed downloads and damaged files
        obtain = "run sklearn.datasets.fetch_openml(data_id=44129, data_home=…) where there is a network"
        damaged = [str(warning.message) for warning in caught if "Invalid cache" in str(warning.message)]
        failure = " ".join(str(error).split()) or type(error).__name__
        raise missing_data_error(cfg, home / "openml", obtain, [*damaged, failure]) from error
    _, labels = np.unique(data.target, return_inverse=True)
    return _with_test_set(np.asarray(data.data, dtype=np.float32), labels.astype(np.int64)), str(home)


def _with_test_set(x: NDArray[Any], y: NDArray[np.int64]) -> Arrays:
    train, test = stratified_split(y, round(_TEST_SHARE * len(y)), _TEST_SEED)
    return Arrays(x[train], y[train], x[test], y[test])
