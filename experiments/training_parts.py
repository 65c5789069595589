"""What the training of a stage is made of: networks, data, cadence, export."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule

from experiments.config import Settings
from experiments.training_ranks import Ranks


@dataclass(frozen=True)
class StageParts:
    """One stage, built and ready to be trained."""

    module: LightningModule
    data: LightningDataModule
    steps: int
    """Optimiser steps of the whole run."""
    batch_size: int
    """Clips of a step, over all processes."""
    validate_every: int
    """Steps between two validations."""
    ema_decay: float
    """Of the moving average of the weights; 0 keeps none."""
    gradient_clip: float
    """Largest norm of the gradient; 0 does not clip."""
    sync_batch_norm: bool
    """Batch norm over all processes."""
    monitor: str
    """Metric that says which validation was best."""
    maximise: bool
    """Whether more of it is better."""
    export: Callable[[Path, dict[str, Any]], None]
    """Write the trained networks to a folder, with notes on the run."""
    samples: Callback | None = None
    """Shows videos with sound."""


def stage_steps(settings: Settings, stage: str) -> int:
    """Optimiser steps of a stage's whole run."""
    return (settings.stage1 if stage == "autoencoder" else settings.stage2).train.steps


def build_parts(settings: Settings, stage: str, ranks: Ranks) -> StageParts:
    """Build one stage.

    Args:
        settings: Resolved.
        stage: `autoencoder` or `diffusion`.
        ranks: Processes that share each batch.
    """
    raise NotImplementedError
