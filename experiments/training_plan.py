"""What a training would do and cost, before it is started: `dabfusion train --dry-run`."""

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

from experiments.config import Settings
from experiments.results import RunFolder
from experiments.training import build_trainer, log_to
from experiments.training_parts import StageParts, build_parts, stage_steps
from experiments.training_ranks import Ranks, find_ranks
from experiments.training_resume import decide_start

#: Steps of the timing probe: the first ones also load kernels and fill caches.
PROBE_WARMUP, PROBE_STEPS = 2, 5


@dataclass(frozen=True)
class Sizes:
    """Bytes that follow from the networks alone."""

    trained: int
    """Parameters that learn."""
    frozen: int
    """Parameters that do not."""

    @property
    def checkpoint(self) -> int:
        """Bytes of a checkpoint: weights, two moments of Adam, moving average, in float32."""
        return 4 * (4 * self.trained + self.frozen)

    @property
    def resident(self) -> int:
        """Bytes in memory before any activation: as a checkpoint, and the gradient."""
        return self.checkpoint + 4 * self.trained


def print_plan(settings: Settings, stage: str, probe: bool) -> None:
    """Print steps, memory, disk and, with a probe, time.

    Args:
        settings: Resolved.
        stage: `autoencoder` or `diffusion`.
        probe: Run some steps to measure time and memory.
    """
    ranks = find_ranks(settings)
    start = decide_start(settings, stage, stage_steps(settings, stage))
    parts = build_parts(settings, stage, ranks)
    sizes = count_parameters(parts.module)
    keep = settings.run.keep_every
    kept = parts.steps // keep if keep else 0
    exchanged = f"{_bytes(4 * sizes.trained)} exchanged a step" if ranks.world > 1 else "alone"
    rows = [
        ("stage", f"{stage}, preset {settings.preset or '(defaults)'}, seed {settings.seed}"),
        ("run folder", f"{start.folder.path} ({_beginning(start.step, start.finished)})"),
        ("steps", f"{parts.steps - start.step} of {parts.steps}, {parts.batch_size} clips each"),
        ("processes", f"{ranks.devices} on each of {ranks.nodes} machine(s), {exchanged}"),
        ("validation", f"every {parts.validate_every} steps"),
        ("parameters", f"{sizes.trained:,} learn, {sizes.frozen:,} do not"),
        ("memory", f"{_bytes(sizes.resident)} a process before activations"),
        ("disk", f"{_bytes(sizes.checkpoint * (2 + kept))} for {2 + kept} checkpoints"),
    ]
    if probe:
        seconds, peak = time_steps(settings, parts, ranks)
        left = seconds * (parts.steps - start.step)
        rows += [
            ("peak memory", f"{_bytes(peak)} in the timing probe"),
            ("time", f"{1000 * seconds:.1f} ms a step, {_duration(left)} without validation"),
        ]
    for name, text in rows:
        print(f"{name:14}{text}")


def count_parameters(module: torch.nn.Module) -> Sizes:
    """Parameters of a stage, by whether they learn."""
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in module.parameters() if not p.requires_grad)
    return Sizes(trained, frozen)


def time_steps(settings: Settings, parts: StageParts, ranks: Ranks) -> tuple[float, int]:
    """Seconds of a step and peak bytes of this process, over a few steps in one process.

    With several processes, each gets its share of the batch here, without the exchange.
    """
    clock = _StepClock()
    alone = Ranks(1, 1, started=ranks.started)
    with tempfile.TemporaryDirectory() as folder, log_to(None):
        trainer = build_trainer(settings, parts, alone, RunFolder(Path(folder)), [], [clock])
        trainer.limit_val_batches = 0
        trainer.fit_loop.epoch_loop.max_steps = PROBE_WARMUP + PROBE_STEPS
        trainer.fit(parts.module, datamodule=parts.data)
    times = clock.times[PROBE_WARMUP:]
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


def _beginning(step: int, finished: bool) -> str:
    if finished:
        return "already finished"
    return f"goes on at step {step}" if step else "new"


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return (
        f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else "under a minute"
    )
