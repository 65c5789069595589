"""Metrics of videos without music: temporal consistency, shakiness, diversity, memorization."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from metrics.accumulate import ClipMean, SampleMetric
from metrics.functional.distances import mean_pairwise_distance, nearest_distances
from metrics.functional.motion import MotionSignal
from metrics.functional.optical_flow import FlowMethod
from metrics.functional.warping import (
    inside_frame,
    signal_jerk,
    warp_errors,
    warp_errors_of_video,
)
from metrics.motion_source import motion_signal


class WarpError(ClipMean):
    """Temporal consistency: mean squared difference of a frame and the warped previous frame.

    Lai et al. 2018. Pixels that were occluded or outside before are left out. `compute()` returns
    one number in [0, 1], the mean over clips. A still video has 0: report the motion as well.

    Args:
        flow: Optical flow method, "farneback" or "dis".
        kwargs: Keyword arguments of `torchmetrics.Metric`.
    """

    higher_is_better = False

    def __init__(self, flow: FlowMethod = "farneback", **kwargs: Any) -> None:
        super().__init__(("warp_error",), {"flow": flow}, **kwargs)
        self.flow: FlowMethod = flow

    def update(self, video: Tensor, flow: Tensor | None = None) -> None:
        """Add a batch of clips.

        Args:
            video: (B, T, 3, H, W) uint8 or floating point in [0, 1].
            flow: (B, T - 1, 2, H, W) the true backward flow in pixels, from frame k + 1 to frame
                k, if it is known; all pixels it takes from inside the frame count.
        """
        if flow is None:
            errors = warp_errors_of_video(video, self.flow)
        else:
            backward = flow.to(video.device)
            seen = inside_frame(backward.flatten(0, 1)).unflatten(0, backward.shape[:2])
            frames = video if video.is_floating_point() else video.to(torch.float32) / 255
            errors = warp_errors(frames, backward.to(frames), seen)
        self.add({"warp_error": errors})

    def compute(self) -> Tensor:
        """Mean over all clips so far."""
        return self.means()["warp_error"]


class MotionJerk(ClipMean):
    """Shakiness: mean absolute second derivative of the motion signal, pixels per second cubed.

    It grows with the amount of motion and with the frame rate: compare clips of one frame rate,
    with true ones. `compute()` returns one number, the mean over clips.

    Args:
        flow: Optical flow for videos, "farneback" or "dis".
        kwargs: Keyword arguments of `torchmetrics.Metric`.
    """

    higher_is_better = False

    def __init__(self, flow: FlowMethod = "farneback", **kwargs: Any) -> None:
        super().__init__(("jerk",), {"flow": flow}, **kwargs)
        self.flow: FlowMethod = flow

    def update(
        self,
        video: Tensor | None = None,
        *,
        fps: float,
        latent_flow: Tensor | None = None,
        keypoints: Tensor | None = None,
        motion: MotionSignal | Tensor | None = None,
        size: int | None = None,
        frames: Tensor | None = None,
    ) -> None:
        """Add a batch of clips; the arguments are those of `MotionMusicAlignment2D.update`."""
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
        self.add({"jerk": signal_jerk(signal.speed, fps)})

    def compute(self) -> Tensor:
        """Mean over all clips so far."""
        return self.means()["jerk"]


class MotionDiversity(SampleMetric):
    """Variety: mean Euclidean distance of all pairs of clips in a space of motion features.

    AIST++'s Dist on features of your choice, for instance `motion_profile` or an extractor's.
    `compute()` returns one number. Noise is varied too, so compare it with that of true clips.

    Args:
        dimension: D, the number of features.
        capacity: Maximum number of clips per process.
        kwargs: Keyword arguments of `torchmetrics.Metric`.
    """

    higher_is_better = True
    sides = ("clips",)

    def __init__(self, dimension: int, capacity: int = 2048, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_buffers(dimension, capacity)

    def update(self, features: Tensor) -> None:
        """Add features (B, D) of a batch of clips.

        Raises:
            ValueError: More clips than the capacity.
        """
        self.store("clips", features)

    def compute(self) -> Tensor:
        """Return the mean pairwise distance, () float64; 0 for fewer than two clips."""
        return mean_pairwise_distance(self.stored("clips"))


class NearestTrainingClip(SampleMetric):
    """Memorization: how close generated clips come to the training set.

    `compute()` returns `distance`, the mean distance of generated clips to the nearest training
    clip; `training_distance`, the same for training clips and the rest of the training set; and
    `copies`, the share of generated clips nearer to a training clip than 95% of the training clips
    are to each other. New clips of the same kind have about 0.05; a model that copies, about 1.

    Args:
        dimension: D, the number of features.
        capacity: Maximum number of clips per side and process.
        kwargs: Keyword arguments of `torchmetrics.Metric`.
    """

    higher_is_better = None
    sides = ("training", "generated")

    def __init__(self, dimension: int, capacity: int = 2048, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_buffers(dimension, capacity)

    def update(self, features: Tensor, training: bool) -> None:
        """Add features of clips.

        Args:
            features: (B, D).
            training: Whether they are training clips or generated ones.

        Raises:
            ValueError: More clips than the capacity.
        """
        self.store("training" if training else "generated", features)

    def compute(self) -> dict[str, Tensor]:
        """Return the values that the class describes.

        Raises:
            ValueError: Fewer than two training clips or no generated one.
        """
        training, generated = self.stored("training"), self.stored("generated")
        if len(training) < 2 or len(generated) < 1:
            raise ValueError(
                f"NearestTrainingClip has seen {len(training)} training and {len(generated)} "
                "generated clips; expected at least two and one."
            )
        among = nearest_distances(training, training, leave_one_out=True)
        found = nearest_distances(generated, training)
        # Duplicates and mirrored copies among the training clips have distance 0, which says
        # nothing about the distance between different clips.
        apart = among[among > 0]
        limit = apart.quantile(0.05) if len(apart) else 0.0
        return {
            "distance": found.mean(),
            "training_distance": among.mean(),
            "copies": ((found < limit) | (found == 0)).double().mean(),
        }
