"""SIGTERM, and the signal by which SLURM announces the end of a job: stop between two steps.

Lightning's own handlers do not fit an exact resume: that for SIGTERM exchanges tensors between
processes wherever each of them happens to be, and that for SLURM saves in the middle of a step.
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


class StopSignals(Callback):
    """Ends a run after the step under way, after the same one on every rank.

    One process stops a validation, too, which the resumed run makes again; several finish it,
    because they meet in it.

    It has to come before the callback that writes checkpoints, which then writes that step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requeue = False
        """Whether SLURM has announced the end of the job, and is to start it again."""
        self._asked = False
        self._agreed = False
        self._before: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over from Lightning, which gives them back at the end."""

        def note(number: int, frame: FrameType | None) -> None:
            self.requeue = self.requeue or number == signal.SIGUSR1
            self._asked = True
            if trainer.world_size == 1:
                _stop(trainer)

        signal.signal(signal.SIGTERM, note)
        if SLURMEnvironment.detect():
            self._before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, note)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Agree among the ranks, where the step waits for the device and for them anyway."""
        if trainer.world_size > 1:
            asked = torch.tensor(float(self._asked), device=pl_module.device)
            self._agreed = bool(trainer.strategy.reduce(asked, reduce_op="sum") > 0)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop, unless a validation comes first."""
        if self._agreed and not validation_follows(trainer):
            _stop(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop behind the validation."""
        if self._agreed:
            _stop(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give SLURM's signal back; Lightning does so with the others."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def validation_follows(trainer: Trainer) -> bool:
    """Whether a validation is run after the step that has just ended."""
    fetcher = trainer.fit_loop._data_fetcher
    return (
        fetcher is not None
        and trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher)
        and sum(trainer.num_val_batches) > 0  # without clips, Lightning passes it over
    )


def requeue_job() -> None:
    """Ask SLURM to start this job again from the beginning, which then goes on with resume=auto."""
    logger = logging.getLogger("dabfusion")
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        logger.error("SLURM did not take job %s back into its queue: %s", job, error)
        return
    logger.info("SLURM has taken job %s back into its queue.", job)


def _stop(trainer: Trainer) -> None:
    # What Lightning's loops look at after a step, and in a validation.
    trainer._signal_connector.received_sigterm = True
