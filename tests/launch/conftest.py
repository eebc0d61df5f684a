from __future__ import annotations

from pathlib import Path

import pytest

from tests.launch.study import Study


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def study(tmp_path: Path, data_dir: Path) -> Study:
    return Study(tmp_path, data_dir)
