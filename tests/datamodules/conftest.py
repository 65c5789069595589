from pathlib import Path

import pytest
from dance_folder import SIZE, write_folder

from datamodules.index import DatasetSettings
from datamodules.preparation.prepare import PrepareOptions, prepare


@pytest.fixture(scope="session")
def dances(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of nine tiny videos with AIST names of all three splits."""
    return write_folder(tmp_path_factory.mktemp("dances"))


@pytest.fixture(scope="session")
def prepared(dances: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`dances`, prepared; read only."""
    out = tmp_path_factory.mktemp("prepared")
    prepare(dances, out, PrepareOptions(DatasetSettings(size=SIZE)))
    return out
