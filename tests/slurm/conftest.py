from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launch.study import Study
from tests.slurm.cluster import SlurmCluster, missing, slurm_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[SlurmCluster]:
    if reason := missing():
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with slurm_cluster() as running:
        yield running


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def study(tmp_path: Path, data_dir: Path, cluster: SlurmCluster) -> Iterator[Study]:
    study = Study(tmp_path, data_dir, cluster.environment)
    yield study
    study.end()
    cluster.ask("scancel", "--user", "root")
