"""Write sample videos with sound during training, to the run folder and the loggers."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers.logger import Logger
from numpy.typing import NDArray
from PIL import Image
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


@dataclass(frozen=True)
class Drawn:
    """Sample videos, images and scores of a batch of clips."""

    videos: Tensor
    """(B, T, 3, H, W) uint8 on the CPU."""
    images: dict[str, Tensor]
    """(3, H, W) uint8 each, by name."""
    motion_beats_s: Sequence[Sequence[float]] | None = None
    """Motion beats of each generated video in seconds, if any."""
    rows: Sequence[Mapping[str, str | float]] = ()
    """Scores of each clip by name, with the same names for all clips."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Means over the clips by metric, logged in addition to those of the validation."""


class SampleVideos(Callback):
    """Generate the same validation clips at each validation.

    Only rank 0 generates them, with the moving average of the weights if there is one.

    Args:
        folder: `samples/` of the run; a video is named `STEP-CLIP.mp4`, and its beats are in
            `STEP-CLIP.json`.
        every: Steps between samples, which are generated at the next validation. 0: only at the end
            of the run.
        load: Reads the clips, with frames and waveform; called once.
        draw: Generates the samples of clips that are on the module's device.
        write: Writes one video.
    """

    def __init__(
        self,
        folder: Path,
        every: int,
        load: Callable[[], ClipBatch],
        draw: Callable[[ClipBatch], Drawn],
        write: VideoWriter,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.every = every
        self.load = load
        self.draw = draw
        self.write = write
        self._shown_step = 0
        self._batch: ClipBatch | None = None

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Generate, write and log samples if they are due."""
        if not trainer.is_global_zero or not self._due(trainer):
            return
        self._shown_step = step = trainer.global_step
        if self._batch is None:
            self._batch = self.load()
        drawn = self.draw(self._batch.to(pl_module.device))
        videos = self._write_videos(self._batch, drawn.videos, step)
        motion = [()] * len(videos) if drawn.motion_beats_s is None else drawn.motion_beats_s
        self._write_beats(self._batch, videos, motion)
        images = self._write_images(drawn.images, step)
        if drawn.rows:
            self._write_rows(drawn.rows, step)
        if drawn.scores:
            pl_module.log_dict(dict(drawn.scores), rank_zero_only=True)
        for logger in trainer.loggers:
            _log(logger, step, videos, images, drawn.rows)

    def state_dict(self) -> dict[str, Any]:
        """Return the step of the last samples."""
        return {"shown_step": self._shown_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self._shown_step = int(state_dict["shown_step"])

    def _due(self, trainer: Trainer) -> bool:
        step = trainer.global_step
        at_end = 0 <= trainer.max_steps <= step
        return at_end or (self.every > 0 and step - self._shown_step >= self.every)

    def _write_videos(self, batch: ClipBatch, videos: Tensor, step: int) -> list[Path]:
        paths = []
        for place, clip_id in enumerate(batch.clip_ids):
            audio = rate = None
            if batch.waveform is not None:
                audio, rate = batch.waveform[place].numpy(), batch.sample_rate
            path = self.folder / f"{step:07d}-{clip_id.replace('/', '-')}.mp4"
            self.write(path, videos[place], batch.fps, audio, rate)
            paths.append(path)
        return paths

    def _write_beats(
        self, batch: ClipBatch, videos: Sequence[Path], motion_beats_s: Sequence[Sequence[float]]
    ) -> None:
        seconds = batch.beat_features.shape[1] / batch.fps
        for path, music, motion in zip(videos, batch.beats.tolist(), motion_beats_s, strict=True):
            # Rows also have beats outside the clip, and NaN at their ends.
            inside = [round(beat, 4) for beat in music if 0 <= beat < seconds]
            beats = {"music_beats_s": inside, "motion_beats_s": [round(b, 4) for b in motion]}
            path.with_suffix(".json").write_text(json.dumps(beats) + "\n", encoding="utf-8")

    def _write_rows(self, rows: Sequence[Mapping[str, str | float]], step: int) -> None:
        path = self.folder / f"{step:07d}-clips.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def _write_images(self, images: dict[str, Tensor], step: int) -> dict[str, Path]:
        paths = {name: self.folder / f"{step:07d}-{name}.png" for name in images}
        for name, path in paths.items():
            Image.fromarray(images[name].movedim(0, -1).numpy()).save(path)
        return paths


def _log(
    logger: Logger,
    step: int,
    videos: Sequence[Path],
    images: Mapping[str, Path],
    rows: Sequence[Mapping[str, str | float]],
) -> None:
    """Pass samples to loggers that support them (WandbLogger)."""
    log_video = getattr(logger, "log_video", None)
    log_image = getattr(logger, "log_image", None)
    log_table = getattr(logger, "log_table", None)
    if log_video is not None:
        captions = [path.stem for path in videos]
        log_video("val/samples", [str(path) for path in videos], step, caption=captions)
    if log_image is not None:
        for name, path in images.items():
            log_image(f"val/{name}", [str(path)], step)
    if log_table is not None and rows:
        columns = list(rows[0])
        log_table(
            "val/clips", columns, [[row[name] for name in columns] for row in rows], step=step
        )
