"""Checkpoints that a kill at any moment cannot damage, and from which a run resumes exactly."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from datamodules.files import replacing
from experiments.errors import SettingsError
from experiments.processes.trainer import restore_logged_step, validation_follows
from experiments.runs.folder import FORMAT, RunFolder
from experiments.runs.logs import JsonlLogger

#: Key of the header in a checkpoint: format, stage and step.
KEY = "dabfusion"


class RunCheckpoints(Callback):
    """Write last.ckpt at a fixed interval, at the end and on SIGTERM, and best.ckpt.

    A step with a validation is written after it, so that a resumed run never has to repeat one.

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
        self.folder = folder
        self.stage = stage
        self.every = every
        self.keep_every = keep_every
        self.monitor = monitor
        self.best_value: float | None = None
        self.best_step = 0
        self._written_step = 0
        self._resumed = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note whether this run is resumed, and drop metrics that it will log again."""
        self._resumed = trainer.global_step > 0
        self._written_step = trainer.global_step
        for logger in trainer.loggers:
            if isinstance(logger, JsonlLogger):
                logger.rewind(trainer.global_step)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Let the loggers continue at the right step after a resume."""
        if self._resumed:
            restore_logged_step(trainer)
            self._resumed = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write what is due, unless a validation comes first."""
        if not validation_follows(trainer):
            self._write_due(trainer, trainer.global_step)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write best.ckpt if this validation is the best, then what is due."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        value = trainer.callback_metrics.get(self.monitor)
        if value is not None and math.isfinite(float(value)):
            self._offer_best(trainer, float(value))
        self._write_due(trainer, trainer.global_step)

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
        checkpoint[KEY] = {"format": FORMAT, "stage": self.stage, "step": trainer.global_step}

    def _offer_best(self, trainer: Trainer, value: float) -> None:
        if self.best_value is not None and not value < self.best_value:
            return
        # Before writing, so that the checkpoint itself contains the new best value.
        self.best_value, self.best_step = value, trainer.global_step
        self._write(trainer, self.folder.best)

    def _write_due(self, trainer: Trainer, step: int) -> None:
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


def read_header(path: Path, stage: str) -> dict[str, Any]:
    """Read and check the header of a checkpoint: format, stage, step.

    Args:
        path: A file in `checkpoints/`.
        stage: The expected stage.

    Raises:
        SettingsError: It is truncated, holds code, or is of another stage or format.
        FileNotFoundError: There is no such file.
    """
    checkpoint = read_checkpoint(path)
    header = checkpoint.get(KEY) if isinstance(checkpoint, dict) else None
    if not isinstance(header, dict):
        raise SettingsError(
            f'"{path}" is not a checkpoint of dabfusion; use the commands import-lfdm and '
            "export-lfdm for checkpoints of LFDM and MRAA."
        )
    if header.get("format") != FORMAT:
        raise SettingsError(
            f'"{path}" is of format {header.get("format")}, and this version reads {FORMAT}; '
            "use the version of dabfusion that wrote it."
        )
    if header.get("stage") != stage:
        raise SettingsError(
            f'"{path}" is a checkpoint of `train {header.get("stage")}`, but one of '
            f"`train {stage}` is expected."
        )
    return dict(header)


def read_checkpoint(path: Path) -> Any:
    """Read a checkpoint to the CPU without running any code in it.

    Raises:
        SettingsError: It is truncated, or holds other objects than tensors and numbers.
        FileNotFoundError: There is no such file.
    """
    try:
        # Memory-mapped, so that reading the header of a large file reads little of it.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as error:
        raise SettingsError(
            f'"{path}" is not a readable checkpoint: it is truncated, or holds other objects '
            "than tensors; use another checkpoint of the run."
        ) from error
