"""The parts that every stage hands to the Trainer, whatever the stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule

from lightning_modules.callbacks.monitor import FailureMonitor
from lightning_modules.callbacks.samples import SampleVideos


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
    """Largest norm of the gradient; 0 leaves it alone."""
    sync_batch_norm: bool
    """Batch norm over all processes."""
    monitor: str
    """Metric that says which validation was best."""
    maximise: bool
    """Whether more of it is better."""
    export: Callable[[Path, dict[str, Any]], None]
    """Write the trained networks to a folder, with notes on the run."""
    samples: Callable[[Path], SampleVideos] | None = None
    """Makes what shows videos with sound in a folder."""
    failures: FailureMonitor | None = None
    """Watches what validation generates."""
