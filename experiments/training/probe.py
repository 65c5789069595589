"""A few real steps of a training, timed: the part of `dabfusion train --dry-run` that computes."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from experiments.caching.music import uncached_music
from experiments.config.load import Settings
from experiments.errors import SettingsError
from experiments.processes.ranks import Ranks
from experiments.runs.folder import RunFolder
from experiments.runs.log_file import log_to
from experiments.training.stage_parts import StageParts
from experiments.training.stages import build_parts, uncached_clips
from experiments.training.train import build_trainer

#: Steps of the timing probe: the first ones also load kernels and fill caches.
WARMUP, STEPS = 2, 5


@dataclass(frozen=True)
class Probe:
    """What the timed steps have shown."""

    seconds: float
    """Of a step."""
    peak_bytes: int
    """Most memory of this process, or of its GPU."""
    to_cache: str
    """What the training computes once before its first step."""


def time_training(settings: Settings, stage: str, ranks: Ranks) -> Probe:
    """Time some steps in this process; nothing is cached or kept.

    With several processes, each gets its share of the batch here, without the exchange.

    Raises:
        SettingsError: If the steps would need what is not cached.
    """
    to_cache = _to_cache(settings) if stage == "diffusion" else "nothing"
    parts = build_parts(settings, stage, ranks, only_planned=True)
    seconds, peak = _time_steps(settings, parts, ranks)
    return Probe(seconds, peak, to_cache)


def _time_steps(settings: Settings, parts: StageParts, ranks: Ranks) -> tuple[float, int]:
    """Seconds of a step and peak bytes of this process, over a few steps."""
    clock = _StepClock()
    alone = Ranks(1, 1, started=ranks.started)
    with tempfile.TemporaryDirectory() as folder, log_to(None):
        trainer = build_trainer(settings, parts, alone, RunFolder(Path(folder)), [], [clock])
        trainer.limit_val_batches = 0
        trainer.fit_loop.epoch_loop.max_steps = WARMUP + STEPS
        trainer.fit(parts.module, datamodule=parts.data)
    times = clock.times[WARMUP:]
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        peak = torch.cuda.max_memory_allocated()
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return (times[-1] - times[0]) / max(1, len(times) - 1), peak


class _StepClock(Callback):
    """When each step ended, by a clock that the device has caught up with."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())


def _to_cache(settings: Settings) -> str:
    """What is computed once before the first step.

    Raises:
        SettingsError: If the timing probe would need some of it.
    """
    _, flows = uncached_clips(settings)
    _, music = uncached_music(settings)
    if music:
        raise SettingsError(
            f"The timing probe needs the music embeddings of {len(music)} clips, which are not "
            "cached; run `dabfusion cache` with the same settings, or add --no-probe."
        )
    if not flows:
        return "nothing: latent flow and music embeddings are cached already"
    return f"latent flow of {len(flows)} clips, which the timed steps compute in each step"
