from pathlib import Path

import pytest
from tiny_runs import TINY, make_data

from experiments import cli


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight dances, prepared; read only, but for the cache of latent flow."""
    return make_data(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def autoencoder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of stage 1 of twelve steps, never interrupted."""
    out = tmp_path_factory.mktemp("runs") / "autoencoder"
    words = [*TINY, f"data={data}", f"out={out}", "stage1.train.steps=12"]
    assert cli.main(["train", "autoencoder", *words, "run.checkpoint_every=5"]) == 0
    return out


@pytest.fixture(scope="session")
def diffusion(data: Path, autoencoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of stage 2 of twelve steps, never interrupted."""
    out = tmp_path_factory.mktemp("runs") / "diffusion"
    words = [*TINY, f"data={data}", f"autoencoder={autoencoder}", f"out={out}"]
    words += ["stage2.train.steps=12", "run.checkpoint_every=5"]
    assert cli.main(["train", "diffusion", *words]) == 0
    return out
