"""Callbacks that make a run exactly resumable: a stop between two steps, and its checkpoints."""

from __future__ import annotations

import logging
import math
import os
import signal
import subprocess
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.optim import Optimizer

from datamodules.files import replacing
from experiments.processes.trainer import request_stop, restore_logged_step, validation_follows
from experiments.runs.folder import FORMAT, HEADER, RunFolder
from experiments.runs.logs import JsonlLogger


class StopSignals(Callback):
    """Stop after the step under way, the same one on every rank, on SIGTERM or SLURM's SIGUSR1.

    Lightning's own handlers do not allow an exact resume: the one for SIGTERM exchanges tensors
    between processes wherever each of them is, and the one for SLURM saves in the middle of a step.

    A single process also stops in a validation, which the resumed run repeats. Several processes
    finish it, because they synchronize in it. `RunCheckpoints` must come later in the list of
    callbacks, so that it writes the last step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requeue = False  # whether SLURM ends the job, which should be started again
        self._received = self._agreed = False
        self._slurm_handler: Any = None

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
            self._slurm_handler = signal.signal(signal.SIGUSR1, note)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Agree with the other ranks whether to stop."""
        # Here, because the backward pass has just waited for all ranks anyway.
        if trainer.world_size > 1:
            received = torch.tensor(float(self._received), device=pl_module.device)
            self._agreed = bool(trainer.strategy.reduce(received, reduce_op="sum") > 0)

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Stop, unless a validation comes first, whose metrics the resumed run would lack."""
        if self._agreed and not validation_follows(trainer):
            request_stop(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop after the validation."""
        if self._agreed:
            request_stop(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the handler of SLURM's signal."""
        if self._slurm_handler is not None:
            signal.signal(signal.SIGUSR1, self._slurm_handler)


def requeue_job() -> None:
    """Ask SLURM to start this job again from the beginning; it then resumes with resume=auto."""
    logger, job = logging.getLogger("dabfusion"), os.environ["SLURM_JOB_ID"]
    # A task of a job array is requeued alone, as ARRAY_TASK.
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, timeout=60)
        logger.info("SLURM has taken job %s back into its queue.", job)
    except (OSError, subprocess.SubprocessError) as error:
        logger.error("SLURM did not take job %s back into its queue: %s", job, error)


class RunCheckpoints(Callback):
    """Write last.ckpt at a fixed interval, at the end and on SIGTERM, and best.ckpt.

    This is not Lightning's ModelCheckpoint, because a step with a validation is written after it,
    so that a resumed run never has to repeat one, and because a kill must leave a whole file.

    Args:
        folder: The run.
        stage: Kept in the checkpoint.
        every: Steps between two writings of last.ckpt.
        keep_every: Steps between two checkpoints kept as step-N.ckpt; 0 keeps none.
        monitor: Validation metric of which the lowest value is best. A validation that does not
            log it, or logs a value that is not finite, is never the best.
    """

    def __init__(
        self, folder: RunFolder, stage: str, every: int, keep_every: int, monitor: str
    ) -> None:
        super().__init__()
        self.folder, self.stage = folder, stage
        self.every, self.keep_every, self.monitor = every, keep_every, monitor
        self.best_value: float | None = None
        self.best_step = 0
        self._written_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop metrics that a resumed run will log again."""
        self._written_step = trainer.global_step
        for logger in trainer.loggers:
            if isinstance(logger, JsonlLogger):
                logger.rewind(trainer.global_step)

    def on_train_batch_start(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Let the loggers continue at the right step after a resume."""
        restore_logged_step(trainer)

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Write what is due, unless a validation comes first."""
        if not validation_follows(trainer):
            self._write_due(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write best.ckpt if this validation is the best, then what is due."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        value = float(trainer.callback_metrics.get(self.monitor, math.nan))
        if math.isfinite(value) and (self.best_value is None or value < self.best_value):
            # Before writing, so that the checkpoint itself contains the new best value.
            self.best_value, self.best_step = value, trainer.global_step
            self._write(trainer, self.folder.best)
        self._write_due(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Write the last step on SIGTERM, if it is complete."""
        # Several processes do not write here, because the others may not take part in saving.
        if not isinstance(exception, SIGTERMException) or trainer.world_size > 1:
            return
        # A validation that was cut short is repeated, from the last step that was written.
        if trainer.global_step > self._written_step and not trainer.validating:
            self._write(trainer, self.folder.last)

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far and its step."""
        return {"best_value": self.best_value, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self.best_value = state_dict["best_value"]
        self.best_step = int(state_dict["best_step"])

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the header."""
        checkpoint[HEADER] = {"format": FORMAT, "stage": self.stage, "step": trainer.global_step}

    def _write_due(self, trainer: Trainer) -> None:
        step = trainer.global_step
        # max_steps is -1 without a limit.
        finished = 0 <= trainer.max_steps <= step
        if step % self.every == 0 or finished or trainer.received_sigterm:
            self._write(trainer, self.folder.last)
            self._written_step = step
        if self.keep_every and step % self.keep_every == 0:
            self._write(trainer, self.folder.last.with_name(f"step-{step}.ckpt"))

    def _write(self, trainer: Trainer, path: Path) -> None:
        if not trainer.is_global_zero:
            # Saving gathers state from every rank; only rank 0 writes a file.
            trainer.save_checkpoint(path, weights_only=False)
            return
        # Written under another name, synced and renamed: a kill leaves the old or the new file.
        with replacing(path) as temporary:
            trainer.save_checkpoint(temporary, weights_only=False)
