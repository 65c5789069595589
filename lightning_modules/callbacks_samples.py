"""Videos with sound from the middle of a training: to the run folder, and to the logger by path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor

from datamodules.batch import ClipBatch


class VideoWriter(Protocol):
    """Writes an mp4 with sound that plays anywhere."""

    def __call__(
        self,
        path: Path,
        frames: Tensor,
        fps: float,
        audio: NDArray[np.float32] | None,
        sample_rate: int | None,
    ) -> None:
        """Write frames (T, 3, H, W) uint8 and mono sound (S,) in [-1, 1] at `sample_rate` Hz."""


#: Sound of a clip by its id and length in seconds: mono samples (S,) and their rate in hertz.
SoundSource = Callable[[str, float], tuple[NDArray[np.float32], int] | None]


class SampleVideos(Callback):
    """Draws the first validation clips with the networks as they are, side by side with the truth.

    Only rank 0 draws, from its own share of the validation set.

    Args:
        folder: `samples/` of the run; a video is called `STEP-CLIP.mp4`.
        clips: How many.
        every: Steps between two showings; each waits for the next validation. 0 means only at the
            end of the run.
        draw: From a batch to panels (B, T, 3, H, W) uint8 on the CPU.
        write: Writes one video.
        sound: Finds the sound of a clip.
    """

    def __init__(
        self,
        folder: Path,
        clips: int,
        every: int,
        draw: Callable[[ClipBatch], Tensor],
        write: VideoWriter,
        sound: SoundSource,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.clips = clips
        self.every = every
        self.draw = draw
        self.write = write
        self.sound = sound
        self._shown_step = 0
        self._batches: list[ClipBatch] = []

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the clips of the last validation."""
        self._batches = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: ClipBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first clips, if this validation is to be shown."""
        missing = self.clips - sum(len(kept) for kept in self._batches)
        if missing > 0 and trainer.is_global_zero and self._due(trainer):
            self._batches.append(first_clips(batch, missing))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, write, log; the moving average, if there is one, is still in place here."""
        if not self._batches:
            return
        step = trainer.global_step
        paths = [path for batch in self._batches for path in self._write_batch(batch, step)]
        self._batches = []
        self._shown_step = step
        for logger in trainer.loggers:
            log_video = getattr(logger, "log_video", None)
            if log_video is not None:
                captions = [path.stem for path in paths]
                log_video("val/samples", [str(path) for path in paths], step, caption=captions)

    def state_dict(self) -> dict[str, Any]:
        """When was shown last."""
        return {"shown_step": self._shown_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a checkpoint's state."""
        self._shown_step = int(state_dict["shown_step"])

    def _due(self, trainer: Trainer) -> bool:
        step = trainer.global_step
        at_end = 0 <= trainer.max_steps <= step
        return at_end or (self.every > 0 and step - self._shown_step >= self.every)

    def _write_batch(self, batch: ClipBatch, step: int) -> list[Path]:
        panels = self.draw(batch)
        seconds = panels.shape[1] / batch.fps
        paths = []
        for clip_id, frames in zip(batch.clip_ids, panels, strict=True):
            audio, rate = self.sound(clip_id, seconds) or (None, None)
            path = self.folder / f"{step:07d}-{clip_id.replace('/', '-')}.mp4"
            self.write(path, frames, batch.fps, audio, rate)
            paths.append(path)
        return paths


def first_clips(batch: ClipBatch, count: int) -> ClipBatch:
    """The first clips of a batch, as a batch.

    Args:
        batch: Any.
        count: How many, at most.
    """
    changed: dict[str, Any] = {}
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Tensor | list):
            changed[field.name] = value[:count]
        elif isinstance(value, dict):
            changed[field.name] = {name: tensor[:count] for name, tensor in value.items()}
    return replace(batch, **changed)
