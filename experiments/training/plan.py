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
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import LambdaCallback

from experiments.config.load import Settings
from experiments.errors import SettingsError
from experiments.processes.ranks import Ranks
from experiments.runs.folder import RunFolder
from experiments.runs.logs import log_to
from experiments.training.resolve import ResolvedRun, find_caches, resolve_run
from experiments.training.stages import StageParts, build_parts
from experiments.training.train import build_trainer

#: Timed steps, and steps before them, which load kernels and fill caches.
STEPS, WARMUP = 5, 2


def print_plan(settings: Settings, stage: str, probe: bool) -> None:
    """Print steps, memory and disk; with a probe, also time and memory of a few steps."""
    run = resolve_run(settings, stage)
    caches = find_caches(run)
    # Statistics of one clip do, because nothing is kept. Frozen networks that no checkpoint holds
    # are not among the parameters.
    parts, ranks = build_parts(run, caches, max_statistics=1), run.ranks
    counts = {True: 0, False: 0}
    for parameter in parts.module.parameters():
        counts[parameter.requires_grad] += parameter.numel()
    trained, frozen = counts[True], counts[False]
    # In float32: weights, two moments of Adam and the moving average.
    checkpoint = 4 * (4 * trained + frozen)
    kept = 2 + (run.steps // settings.run.keep_every if settings.run.keep_every else 0)
    left, begins = run.steps - run.start.step, "new"
    if run.start.step:
        begins = f"resumes at step {run.start.step}"
    if run.start.finished:
        begins = "already finished"
    # Each process sends the gradient of every trained parameter once per step.
    exchanged = _bytes(4 * trained if ranks.world_size > 1 else 0)
    rows = {
        "stage": f"{stage}, preset {settings.preset or '(defaults)'}, seed {settings.seed}",
        "run folder": f"{run.folder.path} ({begins})",
        "steps": f"{left} of {run.steps}, {run.section.batch_size} clips each",
        "processes": f"{ranks.devices} on each of {ranks.nodes} machine(s), {exchanged} exchanged "
        "per step",
        "validation": f"every {run.validate_every} steps",
        "parameters": f"{trained:,} trained, {frozen:,} frozen",
        # As a checkpoint, plus the gradient.
        "memory": f"{_bytes(checkpoint + 4 * trained)} per process before activations",
        "disk": f"{_bytes(checkpoint * kept)} for {kept} checkpoints",
    }
    if probe:
        if caches.missing_music:
            raise SettingsError(
                f"The timed steps need the music embeddings of {len(caches.missing_music)} clips, "
                "which are not cached; run `dabfusion cache` with the same settings, or add "
                "--no-probe."
            )
        seconds, peak = time_steps(run, parts)
        count, time_left = len(caches.missing_flow), timedelta(seconds=round(seconds * left))
        rows |= {
            "cached first": f"latent flow of {count} clips, included in each timed step"
            if count
            else "nothing",
            "peak memory": f"{_bytes(peak)} in the timed steps",
            "time": f"{1000 * seconds:.1f} ms per step, {time_left} (h:mm:ss) without validation",
        }
    notes = [("note", sentence) for sentence in settings.notices(stage)]
    for name, text in [*rows.items(), *notes]:
        print(f"{name:14}{text}")


def time_steps(run: ResolvedRun, parts: StageParts) -> tuple[float, int]:
    """Return seconds per step and peak bytes (of the GPU, if any) of a few steps, not kept.

    One process takes its share of the batch, without exchanging gradients with others.
    """
    times: list[float] = []

    def note(trainer: Trainer, module: LightningModule, *_: Any) -> None:
        if module.device.type == "cuda":
            # Kernels run asynchronously; without this the clock would time their launch.
            torch.cuda.synchronize()
        times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder, log_to(None):
        single = replace(
            run,
            steps=WARMUP + STEPS,
            ranks=Ranks(1, 1, started=run.ranks.started),
            start=replace(run.start, folder=RunFolder(Path(folder))),
        )
        trainer = build_trainer(single, parts, [], [LambdaCallback(on_train_batch_end=note)])
        trainer.limit_val_batches = 0
        trainer.fit(parts.module, datamodule=parts.data)
    # Differences between the ends of steps contain all that the loop does between them.
    seconds = (times[-1] - times[WARMUP]) / max(1, len(times) - WARMUP - 1)
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return seconds, torch.cuda.max_memory_allocated()
    # getrusage counts bytes on macOS and kilobytes elsewhere.
    unit = 1 if sys.platform == "darwin" else 1024
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
