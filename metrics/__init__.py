"""Metrics for music-driven dance video: torchmetrics classes over plain formulas.

`metrics.functional` has the formulas as functions of tensors; the classes here only accumulate.
Names are loaded on first use, so that `import metrics` is fast. All classes take the keyword
arguments of `torchmetrics.Metric` and support `merge_state`; `metrics.accumulate.DanceMetric` says
how to log them from a LightningModule.

Four classes are those of torchmetrics, unchanged. PSNR and SSIM need nothing else. FID and LPIPS
may download weights when they are constructed; construct them with

    FrechetInceptionDistance(network)              # any nn.Module; nothing is downloaded
    FrechetInceptionDistance(feature_extractor_weights_path="inception.pth")  # torch-fidelity
    LearnedPerceptualImagePatchSimilarity("alex")  # torchvision; downloads AlexNet unless
                                                   # $TORCH_HOME/hub/checkpoints holds it

If a package that they need is missing, torchmetrics names it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torchmetrics.image.fid import FrechetInceptionDistance as FrechetInceptionDistance
    from torchmetrics.image.lpip import (
        LearnedPerceptualImagePatchSimilarity as LearnedPerceptualImagePatchSimilarity,
    )
    from torchmetrics.image.psnr import PeakSignalNoiseRatio as PeakSignalNoiseRatio
    from torchmetrics.image.ssim import (
        StructuralSimilarityIndexMeasure as StructuralSimilarityIndexMeasure,
    )

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
    "AVAlign": "metrics.beat_scores",
    "BeatAlignmentScore": "metrics.beat_scores",
    "BeatF1": "metrics.beat_scores",
    "PhaseCosine": "metrics.beat_scores",
    "MotionMusicAlignment2D": "metrics.motion_music_alignment",
    "FrechetVideoDistance": "metrics.video_distance",
    "KernelVideoDistance": "metrics.video_distance",
    "MotionDiversity": "metrics.video_motion",
    "MotionJerk": "metrics.video_motion",
    "NearestTrainingClip": "metrics.video_motion",
    "WarpError": "metrics.video_motion",
    "FrechetInceptionDistance": "torchmetrics.image.fid",
    "LearnedPerceptualImagePatchSimilarity": "torchmetrics.image.lpip",
    "PeakSignalNoiseRatio": "torchmetrics.image.psnr",
    "StructuralSimilarityIndexMeasure": "torchmetrics.image.ssim",
}

__all__ = ["VERSION", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'metrics' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "functional"]
