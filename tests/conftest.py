"""Settings that every test runs under: one thread a process, nothing sent anywhere, one seed."""

import os
import random

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
import torch


def seed_all() -> None:
    random.seed(0)
    # The old generator of NumPy is the one that SciPy and scikit-learn draw from.
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Let no fixture that several tests share depend on which of them needs it first."""
    seed_all()


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Let no test's draws depend on which tests the same process ran before it."""
    seed_all()
