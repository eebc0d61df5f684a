from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launch.study import Study


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def study(tmp_path: Path, data_dir: Path) -> Iterator[Study]:
    study = Study(tmp_path, data_dir)
    yield study
    study.end()
