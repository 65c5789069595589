"""Checkpoints that a kill at any moment cannot break, and from which a run goes on exactly."""

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
from experiments.runs.folder import FORMAT, RunFolder
from experiments.runs.log_jsonl import JsonlLogger
from experiments.training.signals import validation_follows

#: Key under which a checkpoint says what run it belongs to.
KEY = "dabfusion"


class RunCheckpoints(Callback):
    """Writes last.ckpt every so many steps, at the end and on SIGTERM; best.ckpt by a validation.

    A step that validates is written after its validation, so that a resumed run never owes one.

    Args:
        folder: The run.
        stage: `autoencoder` or `diffusion`; kept in the checkpoint.
        every: Steps between two writings of last.ckpt.
        keep_every: Steps between two checkpoints kept as step-N.ckpt; 0 keeps none.
        monitor: Metric that says which validation was best; without it there is no best.ckpt.
        maximise: Whether more of it is better.
    """

    def __init__(
        self,
        folder: RunFolder,
        stage: str,
        every: int,
        keep_every: int,
        monitor: str,
        maximise: bool,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.stage = stage
        self.every = every
        self.keep_every = keep_every
        self.monitor = monitor
        self.maximise = maximise
        self.best_value: float | None = None
        self.best_step = 0
        self._written_step = 0
        self._resumed = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note whether this is a run that goes on."""
        self._resumed = trainer.global_step > 0
        self._written_step = trainer.global_step
        for logger in trainer.loggers:
            if isinstance(logger, JsonlLogger):
                logger.rewind(trainer.global_step)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Let the loggers count on from the right step after a resume."""
        if self._resumed:
            # Lightning counts the steps for its loggers apart from those of the optimiser, and its
            # count depends on the hook in which the checkpoint was written.
            trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
            self._resumed = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write what is due, unless a validation comes first."""
        if not validation_follows(trainer):
            self._write_due(trainer, trainer.global_step)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the best, then what is due."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        value = trainer.callback_metrics.get(self.monitor)
        if value is not None and math.isfinite(float(value)):
            self._offer_best(trainer, float(value))
        self._write_due(trainer, trainer.global_step)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Write the last step on SIGTERM, if it is whole.

        Not in the middle of a validation, which is then made again: the steps since the last
        writing are. Nor in one of several processes, which the others may not follow.
        """
        if not isinstance(exception, SIGTERMException) or trainer.world_size > 1:
            return
        if trainer.global_step > self._written_step and not trainer.validating:
            self._write(trainer, self.folder.last)

    def state_dict(self) -> dict[str, Any]:
        """What was best so far."""
        return {"best_value": self.best_value, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a checkpoint's state."""
        self.best_value = state_dict["best_value"]
        self.best_step = int(state_dict["best_step"])

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Say what the file is."""
        checkpoint[KEY] = {"format": FORMAT, "stage": self.stage, "step": trainer.global_step}

    def _offer_best(self, trainer: Trainer, value: float) -> None:
        known = self.best_value
        if known is not None and not (value > known if self.maximise else value < known):
            return
        self.best_value, self.best_step = value, trainer.global_step
        self._write(trainer, self.folder.best)

    def _write_due(self, trainer: Trainer, step: int) -> None:
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
        with replacing(path) as temporary:
            trainer.save_checkpoint(temporary, weights_only=False)


def read_header(path: Path, stage: str) -> dict[str, Any]:
    """What a checkpoint says of itself (format, stage, step), checked.

    Args:
        path: A file under `checkpoints/`.
        stage: The stage that it must be of.

    Raises:
        SettingsError: If it is truncated, holds code, or is of another stage or format.
        FileNotFoundError: If there is none.
    """
    checkpoint = read_checkpoint(path)
    header = checkpoint.get(KEY) if isinstance(checkpoint, dict) else None
    if not isinstance(header, dict):
        raise SettingsError(
            f'"{path}" is no checkpoint of dabfusion; the commands import-lfdm and export-lfdm '
            "deal with those of LFDM and MRAA."
        )
    if header.get("format") != FORMAT:
        raise SettingsError(
            f'"{path}" is of format {header.get("format")}, and this version reads {FORMAT}; '
            "use the version of dabfusion that wrote it."
        )
    if header.get("stage") != stage:
        raise SettingsError(
            f'"{path}" is a checkpoint of `train {header.get("stage")}`, and one of '
            f"`train {stage}` is expected."
        )
    return dict(header)


def read_checkpoint(path: Path) -> Any:
    """The content of a checkpoint, read without running any code in it, on the CPU.

    Raises:
        SettingsError: If it is truncated or holds more than numbers.
        FileNotFoundError: If there is none.
    """
    try:
        # Mapped: looking at the header of a large file reads little of it.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as error:
        raise SettingsError(
            f'"{path}" is no readable checkpoint: it is cut off, or holds more than numbers; '
            "take another checkpoint of the run."
        ) from error
