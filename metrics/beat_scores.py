"""Published scores related to 2D-MM Align, each averaged over clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from metrics.accumulate import ClipMean
from metrics.functional.beats import as_batch, count_beats, keep_inside
from metrics.functional.matching import (
    F1_TOLERANCE_S,
    av_align,
    beat_f1,
    beat_f1_chance,
    beat_f1_corrected,
    local_peaks,
)
from metrics.functional.motion import MotionSignal
from metrics.functional.motion_video import flow_magnitude
from metrics.functional.optical_flow import FlowMethod
from metrics.functional.phase import phase_cosine
from metrics.functional.presets import (
    PresetName,
    preset_alignment,
    preset_motion_beats,
    preset_named,
)
from metrics.motion_source import MotionMusicMetric, beats_of


class BeatF1(MotionMusicMetric):
    """F1 of motion beats as estimates of the music beats, one to one within 70 ms.

    Beats are matched as in `mir_eval.beat.f_measure` (Davies et al. 2009). The chance level depends
    on the rhythm of the motion, so it is measured by 128 circular shifts of the motion beats.

    `compute()` returns `f1`, `chance`, `corrected` ((f1 - chance) / (1 - chance), averaged over
    clips), `standard_error` (of `corrected`) and `clips`.

    Args:
        tolerance: Seconds, inclusive.
        flow: Optical flow for videos, "farneback" or "dis".
        kwargs: Keyword arguments of `torchmetrics.Metric`.
    """

    def __init__(
        self,
        tolerance: float = F1_TOLERANCE_S,
        flow: FlowMethod = "farneback",
        **kwargs: Any,
    ) -> None:
        super().__init__(("f1", "chance", "corrected"), {"tolerance": tolerance}, flow, **kwargs)
        self.tolerance = tolerance

    def score(self, signal: MotionSignal, fps: float, music: Tensor) -> dict[str, Tensor]:
        """F1, its chance level and the corrected score of each clip, inside the window."""
        beats, window = beats_of(signal, fps)
        music = keep_inside(music, window)
        return {
            "f1": beat_f1(beats, music, self.tolerance),
            "chance": beat_f1_chance(beats, music, window, self.tolerance),
            "corrected": beat_f1_corrected(beats, music, window, self.tolerance),
        }

    def compute(self) -> dict[str, Tensor]:
        """Means over all clips so far."""
        return {
            **self.means(),
            "standard_error": self.standard_error("corrected"),
            "clips": self.clips.float(),
        }


class PhaseCosine(MotionMusicMetric):
    """Mean of cos(2 pi phase) over motion beats between music beats: 1 on the beat, -1 between.

    It has no tolerance, and its chance level is 0 at any tempo. `compute()` returns one
    number, the mean over clips.

    Args:
        flow: Optical flow for videos, "farneback" or "dis".
        kwargs: Keyword arguments of `torchmetrics.Metric`.
    """

    def __init__(self, flow: FlowMethod = "farneback", **kwargs: Any) -> None:
        super().__init__(("phase_cosine",), {}, flow, **kwargs)

    def score(self, signal: MotionSignal, fps: float, music: Tensor) -> dict[str, Tensor]:
        """Phase cosine of each clip, inside the window."""
        beats, window = beats_of(signal, fps)
        return {"phase_cosine": phase_cosine(beats, keep_inside(music, window))}

    def compute(self) -> Tensor:
        """Mean over all clips so far."""
        return self.means()["phase_cosine"]


class BeatAlignmentScore(ClipMean):
    """BAS as published: presets "mint" (AIST++), "bailando" and "mace".

    It is computed as in the papers, without sub-frame times, gate, window or chance correction: use
    it for comparison with published numbers, and `MotionMusicAlignment2D` to compare methods.
    `compute()` returns one number, the mean over clips; clips without a beat score 0.

    Args:
        preset: Which publication to follow (`metrics.functional.PRESETS`).
        kwargs: Keyword arguments of `torchmetrics.Metric`.
    """

    def __init__(self, preset: PresetName = "mint", **kwargs: Any) -> None:
        preset_named(preset)
        super().__init__(("bas",), {"preset": preset}, **kwargs)
        self.preset = preset

    def update(
        self,
        keypoints: Tensor | None = None,
        *,
        fps: float,
        music_beats: Tensor,
        speed: Tensor | None = None,
        motion_beats: Tensor | None = None,
        music_ids: Sequence[str] | None = None,
    ) -> None:
        """Add a batch of clips.

        Args:
            keypoints: (B, T, J, 2 or 3) joint coordinates in any unit (no visibility).
            fps: Frames per second.
            music_beats: (B, N) seconds, NaN-padded.
            speed: (B, T - 1) speed signal instead of `keypoints`.
            motion_beats: (B, M) seconds instead of `keypoints`.
            music_ids: The song of each clip.

        Raises:
            ValueError: Not exactly one of `keypoints`, `speed` and `motion_beats`.
        """
        given = [value for value in (keypoints, speed, motion_beats) if value is not None]
        if len(given) != 1:
            raise ValueError(
                f"{len(given)} of keypoints, speed and motion_beats were given; expected one."
            )
        if motion_beats is None:
            motion_beats = preset_motion_beats(given[0], fps, self.preset)
        music = as_batch(music_beats).to(motion_beats.device)
        self.add({"bas": preset_alignment(motion_beats, music, self.preset, fps)}, music_ids)

    def compute(self) -> Tensor:
        """Mean over all clips so far."""
        return self.means()["bas"]


class AVAlign(ClipMean):
    """AV-Align (TempoTokens, Yariv et al. 2024): peaks of flow against onsets of sound.

    Intersection over union of pairs strictly within one frame. It compares peaks of the motion
    instead of minima with onsets instead of beats. `compute()` returns `av_align` and `empty`, the
    share of clips in which neither was found (each scores 0; the published code divides by zero).

    Args:
        flow: Optical flow for videos: "farneback" as published, or "dis".
        kwargs: Keyword arguments of `torchmetrics.Metric`.
    """

    def __init__(self, flow: FlowMethod = "farneback", **kwargs: Any) -> None:
        super().__init__(("av_align", "empty"), {"flow": flow}, **kwargs)
        self.flow: FlowMethod = flow

    def update(
        self,
        video: Tensor | None = None,
        *,
        fps: float,
        onsets: Tensor,
        magnitude: Tensor | None = None,
        music_ids: Sequence[str] | None = None,
    ) -> None:
        """Add a batch of clips.

        Args:
            video: (B, T, 3, H, W) uint8 or floating point in [0, 1].
            fps: Frames per second.
            onsets: (B, N) seconds, NaN-padded.
            magnitude: (B, T) mean flow magnitudes instead of `video` (`flow_magnitude`).
            music_ids: The song of each clip.

        Raises:
            ValueError: Not exactly one of `video` and `magnitude`.
        """
        if video is not None and magnitude is None:
            magnitude = flow_magnitude(video, self.flow)
        elif magnitude is None or video is not None:
            raise ValueError("Expected exactly one of video and magnitude.")
        peaks = local_peaks(magnitude, fps)
        sounds = as_batch(onsets).to(peaks.device)
        empty = (count_beats(peaks) == 0) & (count_beats(sounds) == 0)
        score = av_align(sounds, peaks, fps)
        self.add({"av_align": score, "empty": empty.to(torch.float32)}, music_ids)

    def compute(self) -> dict[str, Tensor]:
        """Means over all clips so far."""
        return self.means()
