"""Mirroring and speed: images, key points and beats are changed together."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.batch import KEYPOINTS


def _swapped(name: str) -> str:
    side, _, rest = name.partition("_")
    return {"left": "right_", "right": "left_"}.get(side, f"{side}_" if rest else side) + rest


MIRRORED_JOINTS = tuple(KEYPOINTS.index(_swapped(name)) for name in KEYPOINTS)
"""For each joint its counterpart in the mirrored image."""


def mirror_frames(frames: Tensor) -> Tensor:
    """(..., W) images with left and right exchanged."""
    return frames.flip(-1)


def mirror_keypoints(points: Tensor) -> Tensor:
    """(..., 17, 3) key points, x in [-1, 1], of the mirrored image: a left hand becomes a right
    one, on the other side."""
    swapped = points[..., list(MIRRORED_JOINTS), :]
    return swapped * torch.tensor([-1.0, 1.0, 1.0], dtype=points.dtype)


def clip_beats(
    beats_s: NDArray[np.float64], start_s: float, seconds: float, speed: float
) -> NDArray[np.float32]:
    """Beats of a clip in seconds from its first frame, those in [0, `seconds`).

    Args:
        beats_s: (N,) seconds of the whole sound track.
        start_s: Second of the track at the clip's first frame.
        seconds: Duration of the clip as it plays.
        speed: How much faster than recorded it plays.
    """
    moved = (np.asarray(beats_s) - start_s) / speed
    # A beat on the first frame must not be lost by rounding.
    inside = moved[(moved > -1e-6) & (moved < seconds - 1e-6)]
    return np.maximum(inside, 0.0).astype(np.float32)
