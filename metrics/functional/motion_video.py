"""Motion signals of videos: that of 2D-MM Align and that of AV-Align, from the same optical flow.

Two steps go beyond the definition of 2D-MM Align. Each can be switched off by an argument, and the
study of the metric measures its effect:

* frames are stabilized before the flow (`steady_camera`), because the median of the flow does not
  remove a shaking camera where the background has little texture;
* the gate ignores the frame's edge (`edge`), where Farneback's flow of a still, slightly noisy
  video has large errors.

Shape letters: B clips, T frames, S = T - 1 steps, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metrics.functional.median import array_median
from metrics.functional.motion import GATE_SIZE, REGION_PX_S, REGION_SHARE, MotionSignal
from metrics.functional.optical_flow import (
    FlowMethod,
    checked_video,
    flow_between,
    steady,
    to_gray,
)

#: Rows and columns at the frame's edge that the gate leaves out, in frames of 32 pixels or more.
EDGE = 5

Plane = NDArray[np.float32]


@dataclass(frozen=True)
class _Watched:
    """Motion of one clip of T frames, in pixels per step."""

    speed: Plane
    """(T - 1,) mean length of the flow without the camera's part."""
    activity: float
    """Mean length in the moving region over all steps."""
    magnitude: Plane
    """(T - 1,) mean length of the plain flow; zeros if it was not requested."""


def motion_from_video(
    video: Tensor,
    fps: float,
    *,
    frames: Tensor | None = None,
    method: FlowMethod = "farneback",
    steady_camera: bool = True,
    edge: int = EDGE,
    workers: int | None = None,
) -> MotionSignal:
    """Motion signal of frames: optical flow, camera motion taken out, its mean length.

    Clips are worked on one by one, and the flow of a clip is never held at once.

    Args:
        video: (B, T, 3, H, W) uint8 or floating point in [0, 1].
        fps: Frames per second.
        frames: (B,) valid frames of each clip; None means all T.
        method: "farneback", or "dis" for the faster choice.
        steady_camera: Undo the camera's shifts before the flow (`steady`). The flow's spatial
            median is subtracted either way.
        edge: Rows and columns at the frame's edge that the gate does not look at; 0 for none.
        workers: Threads over clips (OpenCV works outside Python's lock); as many as torch uses
            by default.

    Returns:
        The signal on the video's device.
    """

    def watch(gray: NDArray[np.uint8]) -> _Watched:
        return _watch(gray, fps, method, steady_camera, edge, plain=False)

    return _signal(video, fps, _each_clip(video, frames, watch, workers))


def motion_and_magnitude(
    video: Tensor, fps: float, *, method: FlowMethod = "farneback", workers: int | None = None
) -> tuple[MotionSignal, Tensor]:
    """`motion_from_video` and `flow_magnitude` at the price of one of them.

    Only where the camera moved is the flow taken twice: AV-Align does not remove camera motion.
    """

    def watch(gray: NDArray[np.uint8]) -> _Watched:
        return _watch(gray, fps, method, True, EDGE, plain=True)

    watched = _each_clip(video, None, watch, workers)
    return _signal(video, fps, watched), _magnitude(video, watched)


def flow_magnitude(video: Tensor, method: FlowMethod = "farneback") -> Tensor:
    """Motion signal of AV-Align: mean flow magnitude of each step, the first one listed twice.

    Args:
        video: (B, T, 3, H, W) uint8 or floating point in [0, 1].
        method: "farneback" as published, or "dis".

    Returns:
        (B, T) pixels per step; zeros for videos of one frame.
    """

    def watch(gray: NDArray[np.uint8]) -> _Watched:
        between = flow_between(method)
        lengths = np.zeros(len(gray) - 1, np.float32)
        for step in range(len(lengths)):
            lengths[step] = _lengths(*_planes(between(gray[step], gray[step + 1]))).mean()
        return _Watched(lengths, 0.0, lengths)

    return _magnitude(video, _each_clip(video, None, watch, None))


def _each_clip(
    video: Tensor,
    frames: Tensor | None,
    watch: Callable[[NDArray[np.uint8]], _Watched],
    workers: int | None,
) -> list[_Watched]:
    clips, length = checked_video(video).shape[:2]
    counts = [length] * clips if frames is None else [max(1, int(n)) for n in frames]

    def one_clip(place: int) -> _Watched:
        return watch(to_gray(video[place, : counts[place]]).numpy())

    threads = min(clips, workers or torch.get_num_threads())
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(one_clip, range(clips)))
    return [one_clip(place) for place in range(clips)]


def _watch(
    gray: NDArray[np.uint8],
    fps: float,
    method: FlowMethod,
    steady_camera: bool,
    edge: int,
    plain: bool,
) -> _Watched:
    """Look at one clip, frames (T, H, W)."""
    import cv2

    between = flow_between(method)
    count, height, width = len(gray) - 1, *gray.shape[1:]
    window = None
    if steady_camera and min(height, width) >= 16:
        window = cv2.createHanningWindow((width, height), cv2.CV_32F).astype(np.float32)
    speed, magnitude = np.zeros(count, np.float32), np.zeros(count, np.float32)
    largest, total = np.zeros((2, height, width), np.float32)
    for step in range(count):
        here, there = gray[step], gray[step + 1]
        after = there if window is None else steady(here, there, window)
        across, down = _planes(between(here, after))
        if plain:
            parts = (across, down) if after is there else _planes(between(here, there))
            magnitude[step] = _lengths(*parts).mean()
        across, down = (part - array_median(part.ravel()) for part in (across, down))
        length = _lengths(across, down)
        speed[step] = length.mean()
        np.maximum(largest, length, out=largest)
        total += length
    return _Watched(speed, _activity(largest, total / max(1, count), fps, edge), magnitude)


def _planes(flow: Plane) -> tuple[Plane, Plane]:
    """The two components of a flow (H, W, 2), each (H, W) and contiguous."""
    import cv2

    across, down = cv2.split(flow)
    return across.astype(np.float32, copy=False), down.astype(np.float32, copy=False)


def _lengths(across: Plane, down: Plane) -> Plane:
    import cv2

    return cv2.magnitude(across, down).astype(np.float32, copy=False)


def _activity(largest: Plane, mean: Plane, fps: float, edge: int) -> float:
    """Mean of the moving region (see `motion_from_lengths`), from what is known of each pixel.

    Args:
        largest: (H, W) largest length of any step, pixels.
        mean: (H, W) mean length over the steps, pixels.
        fps: Frames per second.
        edge: Rows and columns left out.
    """
    size = max(largest.shape)
    if edge and min(largest.shape) >= 32:
        largest, mean = largest[edge:-edge, edge:-edge], mean[edge:-edge, edge:-edge]
    least = max(REGION_SHARE * float(largest.max()), REGION_PX_S * size / GATE_SIZE / fps)
    region = largest > least
    return float(mean[region].mean()) if region.any() else 0.0


def _signal(video: Tensor, fps: float, watched: list[_Watched]) -> MotionSignal:
    """One `MotionSignal` of clips watched one by one; shorter ones are padded with NaN."""
    speed = torch.full((len(watched), max(0, video.shape[1] - 1)), torch.nan)
    for row, one in zip(speed, watched, strict=True):
        row[: len(one.speed)] = torch.from_numpy(one.speed) * fps
    activity = torch.tensor([one.activity * fps for one in watched])
    size = max(video.shape[-2:])
    return MotionSignal(speed.to(video.device), activity.to(video.device), size)


def _magnitude(video: Tensor, watched: list[_Watched]) -> Tensor:
    if video.shape[1] < 2 or not watched:
        return torch.zeros(video.shape[:2], device=video.device)
    rows = torch.stack([torch.from_numpy(one.magnitude) for one in watched])
    return torch.cat([rows[:, :1], rows], -1).to(video.device)
