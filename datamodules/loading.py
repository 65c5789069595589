"""Reading of prepared videos: the frames, beats, features and key points that clips need.

Videos are kept decoded in memory, in the order of their first use, until the budget is full; from
then on windows are read from disk, so memory does not grow with the data set. Readers are opened
where they are used (inside a worker) and closed at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules import keypoints
from datamodules.augment import mirror_frames, mirror_keypoints
from datamodules.errors import DataError
from datamodules.index import Index
from datamodules.media import video
from datamodules.media.beats import beat_features
from datamodules.media.spectrum import ENVELOPE_RATE_HZ
from datamodules.windows import Window


@dataclass
class Sound:
    """The sound features of one video."""

    beats_s: NDArray[np.float64]
    """(N,) seconds from the first frame."""
    envelope: NDArray[np.float32]
    """(M,) onset strength at `ENVELOPE_RATE_HZ`."""
    spectral: Tensor
    """(frames, 44), see `spectrum.spectral_features`."""
    beat_features: Tensor
    """(frames, 7) at the prepared rate, see `beats.beat_features`."""


class VideoLoader:
    """Reads videos of a prepared folder and keeps as many decoded as fit.

    Args:
        index: Of the folder.
        beats: `tracked`, or `truth` for the renderer's own.
        memory_mb: Budget for decoded frames and features, in this process.
    """

    def __init__(self, index: Index, beats: str, memory_mb: float) -> None:
        column = {"tracked": "beats", "truth": "beats_truth"}.get(beats)
        if column is None:
            raise DataError(f"beats is {beats!r}, but must be 'tracked' or 'truth'.")
        self.index = index
        self.fps = index.settings.fps
        self.budget = self._memory = memory_mb * 2**20
        self._beats = index.beats(column)
        self._beats_kind = beats
        self._frames: dict[int, Tensor] = {}
        self._sounds: dict[int, Sound] = {}
        self._points: dict[int, Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        # A worker that receives this object starts with nothing in memory.
        emptied = {"_frames": {}, "_sounds": {}, "_points": {}, "budget": self._memory}
        return {**self.__dict__, **emptied}

    def beats(self, row: int) -> NDArray[np.float64]:
        """Beats of a video in seconds.

        Raises:
            DataError: True beats are requested, but the video is not a rendered one.
        """
        found = self._beats[row]
        if found is None:
            raise DataError(
                f"{self.index.names[row]} has no true beats, because it is not rendered; "
                "set clips.beats=tracked."
            )
        return found

    def frames(self, row: int, places: NDArray[np.int64], mirror: bool = False) -> Tensor:
        """Frames (len(places), 3, H, W) uint8 of a video."""
        known = self._frames.get(row)
        if known is None:
            known = self._keep_frames(row)
        if known is not None and (np.diff(places) == 1).all():
            taken = known[places[0] : places[-1] + 1]  # neighbors: a view, copied once, later
        elif known is not None:
            taken = known[torch.from_numpy(places)]
        else:
            taken = self._read(row, places)
        return mirror_frames(taken) if mirror else taken

    def _keep_frames(self, row: int) -> Tensor | None:
        size = self.index.settings.size
        count = int(self.index.frames[row])
        if count * 3 * size * size > self.budget:
            return None
        frames = self._read(row, np.arange(count))
        self.budget -= frames.numel()
        self._frames[row] = frames
        return frames

    def _read(self, row: int, places: NDArray[np.int64]) -> Tensor:
        path = self.index.clip_path(self.index.names[row])
        try:
            return video.read_clip(path, places.tolist())
        except FileNotFoundError as error:
            raise DataError(
                f"{path} is gone; run dabfusion prepare again to write it again."
            ) from error

    def sound(self, row: int) -> Sound:
        """Beats and sound features of a video."""
        known = self._sounds.get(row)
        if known is None:
            known = self._read_sound(row)
            size = known.spectral.nbytes + known.envelope.nbytes + known.beat_features.nbytes
            if size <= self.budget:
                self.budget -= size
                self._sounds[row] = known
        return known

    def _read_sound(self, row: int) -> Sound:
        path = self.index.features_path(self.index.names[row])
        try:
            stored = safetensors.torch.load_file(path)
            spectral, envelope = stored["spectral"], stored["envelope"].numpy()
        except (safetensors.SafetensorError, OSError, KeyError) as error:
            raise DataError(
                f"{path} is missing or damaged; delete it and run dabfusion prepare again."
            ) from error
        count = int(self.index.frames[row])
        if len(spectral) != count:
            raise DataError(
                f"{path} holds features of {len(spectral)} frames, but the video has {count}; "
                "delete it and run dabfusion prepare again."
            )
        beats = self.beats(row)
        features = beat_features(beats, envelope, ENVELOPE_RATE_HZ, count, self.fps)
        return Sound(beats, envelope, spectral, torch.from_numpy(features))

    def keypoints(self, row: int, places: NDArray[np.int64], mirror: bool = False) -> Tensor:
        """Key points (len(places), 17, 3): x, y in [-1, 1], visibility; zeros where the video
        has none."""
        points = self._points.get(row)
        if points is None:
            points = self._read_keypoints(row)
            if points.nbytes <= self.budget:
                self.budget -= points.nbytes
                self._points[row] = points
        taken = points[torch.from_numpy(places)]
        return mirror_keypoints(taken) if mirror else taken

    def _read_keypoints(self, row: int) -> Tensor:
        count = int(self.index.frames[row])
        if not self.index.table["keypoints"][row].as_py():
            return torch.zeros(count, keypoints.JOINTS, 3)
        pixels = keypoints.read(self.index.keypoints_path(self.index.names[row]))
        points = torch.from_numpy(pixels)
        points[..., :2] = points[..., :2] * (2.0 / (self.index.settings.size - 1)) - 1.0
        return points

    def waveform(self, row: int, window: Window, seconds: float, rate: int) -> Tensor:
        """The clip's sound (S,) as it plays, `seconds` long; a faster clip sounds higher."""
        path = self.index.clip_path(self.index.names[row])
        # Reading at a lower rate and playing at `rate` is playing faster.
        sound = video.read_audio(path, round(rate / window.speed))
        first = round(window.start / self.fps / window.speed * rate)
        wanted = round(seconds * rate)
        taken = torch.from_numpy(sound[first : first + wanted])
        return torch.nn.functional.pad(taken, (0, wanted - len(taken)))
