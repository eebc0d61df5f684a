"""Datasets that scikit-learn brings or fetches."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dst.data.missing import impatient_network, missing, raw_root
from dst.data.split import stratified_split
from dst.data.store import Arrays

if TYPE_CHECKING:
    from dst.data.config import DatasetConfig

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

    home = raw_root(cfg, data_dir)
    try:
        with impatient_network(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of retries
            data = fetch_openml(data_id=44129, data_home=str(home), as_frame=False, parser="auto", n_retries=1)
    except Exception as error:  # whatever a failed download or a damaged copy makes scikit-learn raise
        obtain = "run sklearn.datasets.fetch_openml(data_id=44129, data_home=…) where there is a network"
        damaged = [f"{path} is damaged, remove it" for path in (home / "openml").rglob("*.gz") if not _is_whole(path)]
        failure = " ".join(str(error).split()) or type(error).__name__
        raise missing(cfg, home / "openml", obtain, [*damaged, failure]) from error
    _, labels = np.unique(data.target, return_inverse=True)
    return _with_test_set(np.asarray(data.data, dtype=np.float32), labels.astype(np.int64)), str(home)


def _is_whole(path: Path) -> bool:
    try:
        with gzip.open(path) as file:
            while file.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error):
        return False
    return True


def _with_test_set(x: NDArray[Any], y: NDArray[np.int64]) -> Arrays:
    train, test = stratified_split(y, round(_TEST_SHARE * len(y)), _TEST_SEED)
    return Arrays(x[train], y[train], x[test], y[test])
