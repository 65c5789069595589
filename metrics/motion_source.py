"""Base class of metrics that compare motion with music, for every source of motion."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from metrics.accumulate import ClipMean
from metrics.functional.beats import as_batch, keep_inside, motion_beats, observable_window
from metrics.functional.motion import (
    GATE_SIZE,
    MotionSignal,
    motion_from_keypoints,
    motion_from_latent_flow,
    motion_from_lengths,
)
from metrics.functional.motion_video import motion_from_video
from metrics.functional.optical_flow import FlowMethod


def motion_signal(
    *,
    video: Tensor | None = None,
    latent_flow: Tensor | None = None,
    keypoints: Tensor | None = None,
    motion: MotionSignal | Tensor | None = None,
    fps: float,
    size: int | None = None,
    frames: Tensor | None = None,
    flow: FlowMethod = "farneback",
) -> MotionSignal:
    """Compute the motion signal of the given source.

    Args:
        video: (B, T, 3, H, W) uint8 or floating point in [0, 1].
        latent_flow: (B, T, 3, h, w): sampling grid in [-1, 1] and occlusion map.
        keypoints: (B, T, J, 2 or 3): x, y in pixels and visibility.
        motion: A `MotionSignal`, or speeds (B, T - 1) in pixels per second, NaN-padded.
        fps: Frames per second.
        size: Frame size in pixels (longer side) for every source but `video`; 128 by default.
        frames: (B,) valid frames of each clip; None means all.
        flow: Optical flow method for `video`.

    Raises:
        ValueError: Not exactly one source.
    """
    given = {
        "video": video,
        "latent_flow": latent_flow,
        "keypoints": keypoints,
        "motion": motion,
    }
    names = [name for name, value in given.items() if value is not None]
    if len(names) != 1:
        raise ValueError(
            f"Motion was given as {' and '.join(names) or 'nothing'}; expected exactly one of "
            f"{', '.join(given)}."
        )
    pixels = GATE_SIZE if size is None else size
    if video is not None:
        return motion_from_video(video, fps, frames=frames, method=flow)
    if latent_flow is not None:
        return motion_from_latent_flow(latent_flow, fps, pixels, frames=frames)
    if keypoints is not None:
        return motion_from_keypoints(keypoints, fps, pixels, frames=frames)
    if isinstance(motion, MotionSignal):
        return motion
    assert motion is not None
    speed = as_batch(motion)
    if frames is None:
        frames = (~speed.isnan()).sum(-1) + 1
    return motion_from_lengths(speed.nan_to_num(0.0)[..., None] / fps, fps, pixels, frames)


class MotionMusicMetric(ClipMean):
    """A score of motion beats against music beats, averaged over clips.

    Subclasses compute the values of a batch in `score`. In a `MetricCollection`, compute the
    motion once with `motion_signal` and give every metric `motion=`.
    """

    def __init__(
        self,
        names: Sequence[str],
        settings: Mapping[str, Any],
        flow: FlowMethod = "farneback",
        **kwargs: Any,
    ) -> None:
        super().__init__(names, {**settings, "flow": flow}, **kwargs)
        self.flow: FlowMethod = flow

    def update(
        self,
        video: MotionSignal | Tensor | None = None,
        fps: float | None = None,
        music_beats: Tensor | None = None,
        *,
        latent_flow: Tensor | None = None,
        keypoints: Tensor | None = None,
        motion: MotionSignal | Tensor | None = None,
        size: int | None = None,
        frames: Tensor | None = None,
        music_ids: Sequence[str] | None = None,
    ) -> None:
        """Add a batch of clips.

        Args:
            video: (B, T, 3, H, W) uint8 or floating point in [0, 1]; or what `motion` takes.
            fps: Frames per second; needed.
            music_beats: Needed; (B, N) seconds from the clip's first frame, NaN-padded. Include
                beats just outside the clip: the controls shift them into it.
            latent_flow: (B, T, 3, h, w) instead of `video`.
            keypoints: (B, T, J, 2 or 3) in pixels instead of `video`.
            motion: A `MotionSignal` or speeds (B, T - 1) in pixels per second instead of `video`.
            size: Frame size in pixels for every source but `video`; 128 by default.
            frames: (B,) valid frames of each clip; None means all.
            music_ids: The song of each clip, for the standard error.

        Raises:
            ValueError: Not exactly one source, or shapes that do not fit.
            TypeError: No `fps` or no `music_beats`.
        """
        if fps is None or music_beats is None:
            raise TypeError("update() needs fps and music_beats.")
        if isinstance(video, MotionSignal) or (video is not None and video.ndim == 2):
            if motion is not None:
                raise ValueError("update() takes one source of motion, but was given two.")
            video, motion = None, video
        signal = motion_signal(
            video=video,
            latent_flow=latent_flow,
            keypoints=keypoints,
            motion=motion,
            fps=fps,
            size=size,
            frames=frames,
            flow=self.flow,
        )
        music = as_batch(music_beats).to(signal.speed.device)
        if len(music) != len(signal.speed):
            raise ValueError(
                f"{len(signal.speed)} clips came with music beats of {len(music)}; expected one "
                "row of beats for every clip."
            )
        self.add(self.score(signal, fps, music), music_ids)

    @abstractmethod
    def score(self, signal: MotionSignal, fps: float, music: Tensor) -> dict[str, Tensor]:
        """Return the values of each clip: a tensor (B,) for every name."""


def beats_of(signal: MotionSignal, fps: float) -> tuple[Tensor, Tensor]:
    """Return motion beats (B, M) in the observable window, and the window (B, 2), in seconds."""
    window = observable_window(signal.frames, fps).to(signal.speed.device)
    beats = motion_beats(signal.speed, fps, moving=signal.moving)
    return keep_inside(beats, window), window
