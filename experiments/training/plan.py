"""`dabfusion train --dry-run`: what a training would do and cost, with a few timed steps."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from experiments.config.load import Settings
from experiments.errors import SettingsError
from experiments.factories.stage1 import build_autoencoder
from experiments.factories.stage2_networks import build_conditioner, build_denoiser
from experiments.processes.ranks import Ranks
from experiments.runs.folder import RunFolder
from experiments.runs.logs import log_to
from experiments.training.caches import Caches, find_caches
from experiments.training.resolve import ResolvedRun, resolve_run
from experiments.training.stages import build_parts
from experiments.training.train import build_trainer

#: Timed steps, and steps before them, which load kernels and fill caches.
STEPS, WARMUP = 5, 2


def print_plan(settings: Settings, stage: str, probe: bool) -> None:
    """Print steps, memory, disk and, with a probe, time.

    Args:
        settings: Resolved.
        stage: `autoencoder`, `diffusion` or `music-adapter`.
        probe: Run a few steps to measure time and memory.

    Raises:
        SettingsError: The training could not be started, or its steps could not be timed.
    """
    run = resolve_run(settings, stage)
    networks, left = _networks(run), run.steps - run.start.step
    trained = sum(p.numel() for p in networks.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in networks.parameters() if not p.requires_grad)
    # In float32: weights, two moments of Adam and the moving average.
    checkpoint = 4 * (4 * trained + frozen)
    kept = 2 + (run.steps // settings.run.keep_every if settings.run.keep_every else 0)
    begins = f"resumes at step {run.start.step}" if run.start.step else "new"
    if run.start.finished:
        begins = "already finished"
    # Each process sends the gradient of every trained parameter once per step.
    exchanged = _bytes(4 * trained if run.ranks.world_size > 1 else 0)
    devices, nodes = run.ranks.devices, run.ranks.nodes
    rows = [
        ("stage", f"{stage}, preset {settings.preset or '(defaults)'}, seed {settings.seed}"),
        ("run folder", f"{run.folder.path} ({begins})"),
        ("steps", f"{left} of {run.steps}, {run.batch_size} clips each"),
        ("processes", f"{devices} on each of {nodes} machine(s), {exchanged} exchanged per step"),
        ("validation", f"every {run.validate_every} steps"),
        ("parameters", f"{trained:,} trained, {frozen:,} frozen"),
        # As a checkpoint, plus the gradient.
        ("memory", f"{_bytes(checkpoint + 4 * trained)} per process before activations"),
        ("disk", f"{_bytes(checkpoint * kept)} for {kept} checkpoints"),
    ]
    if probe:
        caches = find_caches(run)
        _check_music(caches)
        seconds, peak = time_steps(run, caches)
        flow = f"latent flow of {len(caches.missing_flow)} clips" if caches.missing_flow else ""
        time_left = timedelta(seconds=round(seconds * left))
        rows += [
            ("cached first", f"{flow}, included in each timed step" if flow else "nothing"),
            ("peak memory", f"{_bytes(peak)} in the timed steps"),
            ("time", f"{1000 * seconds:.1f} ms per step, {time_left} (h:mm:ss) without validation"),
        ]
    rows += [("note", sentence) for sentence in settings.notices(stage)]
    for name, text in rows:
        print(f"{name:14}{text}")


def _networks(run: ResolvedRun) -> nn.Module:
    """Build the networks that a checkpoint of this stage holds."""
    if run.stage == "autoencoder":
        return build_autoencoder(run.settings.stage1)
    if run.stage == "music-adapter":
        return build_parts(run, Caches()).module
    assert run.stage1 is not None
    # Stage 1 itself is not part of stage 2's checkpoints.
    channels = run.stage1.network.channels_latent
    return nn.ModuleList([build_denoiser(run.settings, channels), build_conditioner(run.settings)])


def _check_music(caches: Caches) -> None:
    if caches.missing_music:
        raise SettingsError(
            f"The timed steps need the music embeddings of {len(caches.missing_music)} clips, "
            "which are not cached; run `dabfusion cache` with the same settings, or add "
            "--no-probe."
        )


def time_steps(run: ResolvedRun, caches: Caches) -> tuple[float, int]:
    """Run a few steps in this process; nothing is cached or kept.

    One process takes its share of the batch, without exchanging gradients with others.

    Returns:
        Seconds per step, and the peak memory in bytes of this process, or of its GPU.
    """
    # Statistics of one clip do: the timed steps are not kept.
    parts = build_parts(run, caches, max_statistics=1)
    clock = _StepClock()
    with tempfile.TemporaryDirectory() as folder, log_to(None):
        single = replace(
            run,
            steps=WARMUP + STEPS,
            ranks=Ranks(1, 1, started=run.ranks.started),
            start=replace(run.start, folder=RunFolder(Path(folder))),
        )
        trainer = build_trainer(single, parts, [], [clock])
        trainer.limit_val_batches = 0
        trainer.fit(parts.module, datamodule=parts.data)
    # Differences between the ends of steps contain all that the loop does between them.
    times = clock.times[WARMUP:]
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        peak = torch.cuda.max_memory_allocated()
    else:
        # getrusage counts bytes on macOS and kilobytes elsewhere.
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return (times[-1] - times[0]) / max(1, len(times) - 1), peak


class _StepClock(Callback):
    """Note when each step has ended, on the device too."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.device.type == "cuda":
            # Kernels run asynchronously; without this the clock would time their launch.
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
