"""Metrics for music-driven dance video: torchmetrics classes over plain formulas.

`metrics.functional` holds the formulas, tensors in and tensors out; the classes here only
accumulate. Names are loaded on first use, so `import metrics` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metrics.beat_scores import AVAlign as AVAlign
    from metrics.beat_scores import BeatAlignmentScore as BeatAlignmentScore
    from metrics.beat_scores import BeatF1 as BeatF1
    from metrics.beat_scores import PhaseCosine as PhaseCosine
    from metrics.motion_music_alignment import MotionMusicAlignment2D as MotionMusicAlignment2D
    from metrics.video_distance import FrechetVideoDistance as FrechetVideoDistance
    from metrics.video_distance import KernelVideoDistance as KernelVideoDistance
    from metrics.video_motion import MotionDiversity as MotionDiversity
    from metrics.video_motion import MotionJerk as MotionJerk
    from metrics.video_motion import NearestTrainingClip as NearestTrainingClip
    from metrics.video_motion import WarpError as WarpError

#: Version of the definitions: it changes whenever a score of the same clips would.
VERSION = 2

_HOMES = {
    "AVAlign": "beat_scores",
    "BeatAlignmentScore": "beat_scores",
    "BeatF1": "beat_scores",
    "PhaseCosine": "beat_scores",
    "MotionMusicAlignment2D": "motion_music_alignment",
    "FrechetVideoDistance": "video_distance",
    "KernelVideoDistance": "video_distance",
    "MotionDiversity": "video_motion",
    "MotionJerk": "video_motion",
    "NearestTrainingClip": "video_motion",
    "WarpError": "video_motion",
}

__all__ = ["VERSION", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"metrics.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'metrics' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "functional"]
