"""SIGTERM, and the signal that announces the end of a SLURM job: stop between two steps.

Lightning's own handlers do not allow an exact resume: the one for SIGTERM exchanges tensors between
processes wherever each of them is, and the one for SLURM saves in the middle of a step.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.environments import SLURMEnvironment
from torch.optim import Optimizer

from experiments.processes.trainer import request_stop, validation_follows


class StopSignals(Callback):
    """End a run after the step under way, which is the same step on every rank.

    A single process also stops in a validation, which the resumed run repeats. Several processes
    finish it, because they synchronize in it. The callback that writes checkpoints must come later
    in the list, so that it writes the last step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requeue = False
        """Whether SLURM has announced the end of the job, which should be started again."""
        self._received = False
        self._agreed = False
        self._before: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace Lightning's signal handlers, which it restores after the fit."""

        def note(number: int, frame: FrameType | None) -> None:
            # Runs between two bytecodes of the main thread, so it only takes notes.
            self.requeue = self.requeue or number == signal.SIGUSR1
            self._received = True
            if trainer.world_size == 1:
                request_stop(trainer)

        # Not in `setup`: Lightning installs its own handlers after that hook.
        signal.signal(signal.SIGTERM, note)
        if SLURMEnvironment.detect():
            self._before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, note)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Agree with the other ranks whether to stop."""
        # Here, because the backward pass has just waited for all ranks anyway.
        if trainer.world_size > 1:
            received = torch.tensor(float(self._received), device=pl_module.device)
            self._agreed = bool(trainer.strategy.reduce(received, reduce_op="sum") > 0)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop, unless a validation comes first."""
        # With a validation due, a stop now would leave its metrics to the resumed run.
        if self._agreed and not validation_follows(trainer):
            request_stop(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop after the validation."""
        if self._agreed:
            request_stop(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the handler of SLURM's signal."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def requeue_job() -> None:
    """Ask SLURM to start this job again from the beginning; it then resumes with resume=auto."""
    logger = logging.getLogger("dabfusion")
    job = os.environ["SLURM_JOB_ID"]
    # A task of a job array is requeued alone, as ARRAY_TASK.
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        logger.error("SLURM did not take job %s back into its queue: %s", job, error)
        return
    logger.info("SLURM has taken job %s back into its queue.", job)
