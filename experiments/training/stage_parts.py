"""The parts that each stage hands to the Trainer.

They are in a module of their own because the builders of all stages import them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule

from datamodules.aist import AISTDataModule
from datamodules.batch import ClipBatch
from datamodules.cache import FeatureStore
from datamodules.media.video import write_video
from experiments.training.resolve import ResolvedRun
from experiments.training.samples import load_samples
from lightning_modules.callbacks.monitor import FailureMonitor
from lightning_modules.callbacks.samples import Drawn, SampleVideos


@dataclass(frozen=True)
class StageParts:
    """One stage, built and ready to train."""

    module: LightningModule
    data: AISTDataModule
    ema_decay: float
    """Decay of the moving average of the weights; 0 keeps none."""
    gradient_clip: float
    """Maximum norm of the gradient; 0 does not clip."""
    sync_batch_norm: bool
    """Compute batch norm statistics over all processes."""
    monitor: str
    """Validation metric of which the lowest value is the best checkpoint."""
    export: Callable[[Path, dict[str, Any]], None]
    """Writes the trained networks to a folder, with notes on the run."""
    samples: SampleVideos | None = None
    """Writes videos of validation clips to the run folder."""
    failures: FailureMonitor | None = None
    """Watches what validation generates."""


def sample_videos(
    run: ResolvedRun, music: tuple[FeatureStore, ...], draw: Callable[[ClipBatch], Drawn]
) -> SampleVideos | None:
    """Return the callback that writes sample videos; None if the settings request no samples.

    Args:
        run: The run.
        music: Stores of the music embeddings that the networks read.
        draw: Draws a batch of clips.
    """
    settings = run.settings.run
    if not settings.samples:
        return None
    # Clips are loaded at the first showing and kept: (B, T, 3, H, W) frames and (B, S) sound.
    return SampleVideos(
        run.folder.samples,
        settings.samples_every,
        load=lambda: load_samples(run.data, settings.samples, music),
        draw=draw,
        write=write_video,
    )
