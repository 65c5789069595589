"""Optical flow of the frames themselves, by OpenCV on the CPU.

OpenCV is imported inside the functions: everything else in this package works without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FlowMethod = Literal["farneback", "dis"]

#: Farneback's settings: pyramid scale, levels, window, iterations, poly_n, poly_sigma, flags.
FARNEBACK = (0.5, 3, 15, 3, 5, 1.2, 0)
#: Camera shifts below this many pixels are left to the median of the flow.
STEADY_LEAST_PX = 0.1
#: With this share of the pixels unchanged (by at most 1 of 255) the camera stands still.
STEADY_STILL = 0.75
#: Share of the pixels that a camera shift must bring nearer, net of those it moves apart.
STEADY_SHARE = 0.05


def to_gray(video: Tensor) -> Tensor:
    """Frames in 8-bit gray, as OpenCV weighs red, green and blue.

    Args:
        video: (..., 3, H, W) or (..., 1, H, W), uint8 in [0, 255] or floating point in [0, 1].

    Returns:
        (..., H, W) uint8 on the CPU.

    Raises:
        ValueError: Another number of channels.
    """
    if video.ndim < 3 or video.shape[-3] not in (1, 3):
        raise ValueError(
            f"A video has shape {tuple(video.shape)}; expected (B, T, 3, H, W), uint8 or floating "
            "point in [0, 1]."
        )
    import cv2

    video = video.detach().cpu()
    if video.is_floating_point():
        video = (video.clamp(0, 1) * 255).round().to(torch.uint8)
    if video.shape[-3] == 1:
        return video[..., 0, :, :].contiguous()
    frames = video.reshape(-1, *video.shape[-3:]).numpy()
    gray = np.empty((len(frames), *frames.shape[-2:]), np.uint8)
    for frame, place in zip(frames, gray, strict=True):
        # Merging the planes first is ten times faster than turning the axes.
        cv2.cvtColor(cv2.merge(list(frame)), cv2.COLOR_RGB2GRAY, dst=place)
    return torch.from_numpy(gray).reshape(*video.shape[:-3], *video.shape[-2:])


def flow_between(
    method: FlowMethod,
) -> Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float32]]:
    """The function that gives the flow (H, W, 2) in pixels from one gray frame to another.

    It writes into one buffer: the flow is gone at its next call.

    Raises:
        ValueError: An unknown method.
    """
    import cv2

    buffers: dict[tuple[int, ...], NDArray[np.float32]] = {}

    def room(shape: tuple[int, ...]) -> NDArray[np.float32]:
        if shape not in buffers:
            buffers[shape] = np.zeros((*shape, 2), np.float32)
        return buffers[shape]

    if method == "farneback":

        def farneback(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> NDArray[np.float32]:
            found = cv2.calcOpticalFlowFarneback(one, two, room(one.shape), *FARNEBACK)
            return found.astype(np.float32, copy=False)

        return farneback
    if method == "dis":
        # opencv's stubs do not list this constructor's snake-case name, hence the class method.
        search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

        def inverse_search(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> NDArray[np.float32]:
            # An initial flow would be taken as a hint, so the buffer is emptied.
            start = room(one.shape)
            start[:] = 0
            return search.calc(one, two, start).astype(np.float32, copy=False)

        return inverse_search
    raise ValueError(f"Optical flow method is {method!r}; expected 'farneback' or 'dis'.")


def steady(
    one: NDArray[np.uint8], two: NDArray[np.uint8], window: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Undo the camera's shift between two gray frames, if it is plain that the camera moved.

    Farneback loses a shift of a pixel where the background has little texture, and what is left
    after subtracting the median hides the dancer: on 12 rendered dancers 1 px of shake took the
    corrected score from 0.951 to 0.636, and with this step to 0.949. The shift comes from phase
    correlation. It is taken only if distinctly more pixels come nearer to each other than move
    apart: on a flat background phase correlation finds the dancer, not the camera.

    Args:
        one: (H, W) frame k.
        two: (H, W) frame k + 1.
        window: (H, W) Hann window.

    Returns:
        (H, W): frame k + 1 moved back, or as it is.
    """
    import cv2

    height, width = one.shape
    before = cv2.absdiff(one, two)
    if np.count_nonzero(before <= 1) > STEADY_STILL * one.size:
        return two
    (across, down), _ = cv2.phaseCorrelate(one.astype(np.float32), two.astype(np.float32), window)
    if not STEADY_LEAST_PX <= float(np.hypot(across, down)) < max(one.shape) / 4:
        return two
    moved = cv2.warpAffine(
        two,
        np.array([[1, 0, across], [0, 1, down]], np.float32),
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    ).astype(np.uint8, copy=False)
    after = cv2.absdiff(one, moved)
    gain = np.count_nonzero(after < before) - np.count_nonzero(after > before)
    return moved if gain > STEADY_SHARE * one.size else two


def optical_flow(video: Tensor, method: FlowMethod = "farneback") -> Tensor:
    """Optical flow between consecutive frames.

    Args:
        video: (B, T, 3, H, W) uint8 or floating point in [0, 1].
        method: "farneback", or "dis" for the faster choice.

    Returns:
        (B, T - 1, 2, H, W) float32 pixels, on the video's device.
    """
    clips, frames, _, height, width = checked_video(video).shape
    gray = to_gray(video).numpy()
    flow = torch.zeros(clips, max(0, frames - 1), 2, height, width)
    between = flow_between(method)
    for clip in range(clips):
        for step in range(frames - 1):
            found = between(gray[clip, step], gray[clip, step + 1])
            flow[clip, step] = torch.from_numpy(found).movedim(-1, 0)
    return flow.to(video.device)


def checked_video(video: Tensor) -> Tensor:
    """The video itself, if it is a batch of videos.

    Raises:
        ValueError: It has another number of dimensions than (B, T, 3, H, W).
    """
    if video.ndim != 5:
        raise ValueError(
            f"A batch of videos has shape {tuple(video.shape)}; expected (B, T, 3, H, W)."
        )
    return video
