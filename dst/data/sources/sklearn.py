"""Datasets that scikit-learn brings or fetches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dst.data.raw_data import impatient_network, missing, raw_root
from dst.data.split import stratified_split
from dst.data.store import Arrays

if TYPE_CHECKING:
    from dst.config import DatasetConfig

_TEST_SHARE = 0.15
_TEST_SEED = 0  # not the config's split_seed: nothing may ever train on the test samples


def digits(cfg: DatasetConfig, data_dir: Path) -> tuple[Arrays, str]:
    """1,797 handwritten digits of 8×8 pixels, inside scikit-learn; their 17 grey levels spread over 0..255."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)[:, None]
    return _with_test_set(images, data.target.astype(np.int64)), "scikit-learn"


def higgs(cfg: DatasetConfig, data_dir: Path) -> tuple[Arrays, str]:
    """940,160 collisions, 24 features, 2 classes: OpenML 44129, as ``fetch_openml`` keeps it under ``data_home``.

    Raises:
        UserError: when it is neither there nor to be had.
    """
    import warnings

    from sklearn.datasets import fetch_openml

    home, told = raw_root(cfg, data_dir), []
    try:
        with impatient_network(), warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")  # of damaged files, which scikit-learn removes
            # not the parser by pandas, which fails for classes that are numbers
            data = fetch_openml(data_id=44129, data_home=str(home), as_frame=False, parser="liac-arff", n_retries=1)
    except Exception as error:  # whatever a failed download or a damaged copy makes scikit-learn raise
        obtain = "run sklearn.datasets.fetch_openml(data_id=44129, data_home=…) where there is a network"
        damaged = [str(warning.message) for warning in told if "Invalid cache" in str(warning.message)]
        failure = " ".join(str(error).split()) or type(error).__name__
        raise missing(cfg, home / "openml", obtain, [*damaged, failure]) from error
    _, labels = np.unique(data.target, return_inverse=True)
    return _with_test_set(np.asarray(data.data, dtype=np.float32), labels.astype(np.int64)), str(home)


def _with_test_set(x: NDArray[Any], y: NDArray[np.int64]) -> Arrays:
    train, test = stratified_split(y, round(_TEST_SHARE * len(y)), _TEST_SEED)
    return Arrays(x[train], y[train], x[test], y[test])
