"""Metrics of the video alone: consistency over time, shakiness, variety, memorisation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from metrics.accumulate import ClipMean
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
from metrics.video_distance import store, stored


class WarpError(ClipMean):
    """Temporal consistency: mean squared difference of a frame and the last one moved by the flow.

    Lai et al. 2018. Pixels that were hidden before, or outside, are left out. `compute()` returns
    one number in [0, 1], the mean over clips; a still video scores 0, so read it beside the motion.

    Args:
        flow: optical flow method, "farneback" or "dis".
    """

    higher_is_better = False

    def __init__(self, flow: FlowMethod = "farneback") -> None:
        super().__init__(("warp_error",), {"flow": flow})
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
    """Shakiness: mean absolute second derivative of the motion signal, pixels a second cubed.

    It grows with the amount of motion and with the frame rate: compare clips of one frame rate,
    beside true ones. `compute()` returns one number, the mean over clips.

    Args:
        flow: optical flow for videos, "farneback" or "dis".
    """

    higher_is_better = False

    def __init__(self, flow: FlowMethod = "farneback") -> None:
        super().__init__(("jerk",), {"flow": flow})
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


class MotionDiversity(Metric):
    """Variety: mean Euclidean distance of all pairs of clips in a space of motion features.

    AIST++'s Dist on features of your choice, for instance `motion_profile` or an extractor's.
    `compute()` returns one number; noise is varied too, so read it beside that of true clips.

    Args:
        dimension: D, the number of features.
        capacity: most clips a process.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = True

    count: Tensor
    features: Tensor

    def __init__(self, dimension: int, capacity: int = 2048) -> None:
        super().__init__()
        self.add_state("count", torch.zeros((), dtype=torch.int64), None)
        self.add_state("features", torch.zeros(capacity, dimension, dtype=torch.float64), None)

    def update(self, features: Tensor) -> None:
        """Add features (B, D) of a batch of clips.

        Raises:
            ValueError: more clips than the capacity.
        """
        store(self.features, self.count, features.detach().to(self.features))

    def compute(self) -> Tensor:
        """Mean pairwise distance, () float64; 0 for fewer than two clips."""
        return mean_pairwise_distance(stored(self.features, self.count))

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot one result of `compute()` or a list of them; returns figure and axes."""
        return self._plot(val, ax)


class NearestTrainingClip(Metric):
    """Memorisation: how near generated clips come to the training set.

    `compute()` returns `distance`, the mean distance of generated clips to the nearest training
    clip; `training_distance`, the same for training clips and the rest of the training set; and
    `copies`, the share of generated clips nearer to a training clip than 95% of the training clips
    are to each other. Near 0.05 is what new clips of the same kind have; near 1 is a copier.

    Args:
        dimension: D, the number of features.
        capacity: most clips a side and process.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = True

    training_count: Tensor
    training_features: Tensor
    generated_count: Tensor
    generated_features: Tensor

    def __init__(self, dimension: int, capacity: int = 2048) -> None:
        super().__init__()
        for side in ("training", "generated"):
            self.add_state(f"{side}_count", torch.zeros((), dtype=torch.int64), None)
            buffer = torch.zeros(capacity, dimension, dtype=torch.float64)
            self.add_state(f"{side}_features", buffer, None)

    def update(self, features: Tensor, training: bool) -> None:
        """Add features (B, D) of clips.

        Args:
            features: (B, D).
            training: whether they are training clips or generated ones.

        Raises:
            ValueError: more clips than the capacity.
        """
        count = self.training_count if training else self.generated_count
        buffer = self.training_features if training else self.generated_features
        store(buffer, count, features.detach().to(buffer))

    def compute(self) -> dict[str, Tensor]:
        """See the class.

        Raises:
            ValueError: fewer than two training clips or no generated one.
        """
        training = stored(self.training_features, self.training_count)
        generated = stored(self.generated_features, self.generated_count)
        if len(training) < 2 or len(generated) < 1:
            raise ValueError(
                f"NearestTrainingClip has seen {len(training)} training and {len(generated)} "
                "generated clips; expected at least two and one."
            )
        among = nearest_distances(training, training, leave_one_out=True)
        found = nearest_distances(generated, training)
        # Training clips may come twice, or mirrored: their distance of 0 says nothing of the rest.
        apart = among[among > 0]
        limit = apart.quantile(0.05) if len(apart) else 0.0
        return {
            "distance": found.mean(),
            "training_distance": among.mean(),
            "copies": ((found < limit) | (found == 0)).double().mean(),
        }

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot one result of `compute()` or a list of them; returns figure and axes."""
        return self._plot(val, ax)
