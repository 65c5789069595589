"""Temporal consistency: compare each frame with the previous one, warped by optical flow."""

from __future__ import annotations

import torch
from torch import Tensor

from metrics.functional.optical_flow import FlowMethod, optical_flow


def warp(images: Tensor, flow: Tensor) -> Tensor:
    """Sample each pixel of `images` at its position plus the flow, bilinearly.

    Args:
        images: (N, C, H, W).
        flow: (N, 2, H, W) pixels (x, y), from the result's grid into `images`.

    Returns:
        (N, C, H, W); places outside take the edge's value (see `inside_frame`).
    """
    height, width = images.shape[-2:]
    place = _pixel_grid(flow) + flow
    scale = torch.tensor([max(width - 1, 1), max(height - 1, 1)]).to(place)
    grid = (2 * place.movedim(1, -1) / scale - 1).to(images.dtype)
    return torch.nn.functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="border", align_corners=True
    )


def inside_frame(flow: Tensor) -> Tensor:
    """(N, H, W) bool: the place that the flow (N, 2, H, W) points to is in the frame."""
    height, width = flow.shape[-2:]
    across, down = (_pixel_grid(flow) + flow).unbind(1)
    slack = 1e-3
    return (
        (across >= -slack)
        & (across <= width - 1 + slack)
        & (down >= -slack)
        & (down <= height - 1 + slack)
    )


def visible_before(backward: Tensor, forward: Tensor) -> Tensor:
    """Find the pixels that were visible in the previous frame (Sundaram et al. 2010).

    A pixel is occluded if backward and forward flow do not cancel:
    |b + f(x + b)|^2 >= 0.01 (|b|^2 + |f(x + b)|^2) + 0.5.

    Args:
        backward: (N, 2, H, W) pixels, from the frame to the one before.
        forward: (N, 2, H, W) pixels, from the one before to the frame.

    Returns:
        (N, H, W) bool.
    """
    there = warp(forward, backward)
    astray = (backward + there).square().sum(1)
    lengths = backward.square().sum(1) + there.square().sum(1)
    return (astray < 0.01 * lengths + 0.5) & inside_frame(backward)


def warp_errors(frames: Tensor, backward: Tensor, visible: Tensor) -> Tensor:
    """Mean squared difference of each frame and the last one moved by the flow (Lai et al. 2018).

    Args:
        frames: (B, T, C, H, W) in [0, 1].
        backward: (B, T - 1, 2, H, W) pixels from frame k + 1 to frame k.
        visible: (B, T - 1, H, W) bool, False on pixels that were not there before.

    Returns:
        (B,): mean over all visible pixels of a clip, in [0, 1]; 0 if there is none.
    """
    clips, steps = backward.shape[:2]
    if steps == 0:
        return frames.new_zeros(clips)
    moved = warp(frames[:, :-1].flatten(0, 1), backward.flatten(0, 1))
    apart = (frames[:, 1:].flatten(0, 1) - moved).square().mean(1).unflatten(0, (clips, steps))
    seen = visible.to(apart)
    return (apart * seen).sum((1, 2, 3)) / seen.sum((1, 2, 3)).clamp(min=1)


def warp_errors_of_video(video: Tensor, method: FlowMethod = "farneback") -> Tensor:
    """`warp_errors` with the optical flow of the video itself.

    Args:
        video: (B, T, 3, H, W) uint8 or floating point in [0, 1].
        method: "farneback" or "dis".

    Returns:
        (B,): in [0, 1]; 0 for videos of one frame.
    """
    backward = optical_flow(video.flip(1), method).flip(1)
    forward = optical_flow(video, method)
    seen = visible_before(backward.flatten(0, 1), forward.flatten(0, 1))
    frames = video if video.is_floating_point() else video.to(torch.float32) / 255
    return warp_errors(frames, backward.to(frames), seen.unflatten(0, backward.shape[:2]))


def signal_jerk(speed: Tensor, fps: float) -> Tensor:
    """Mean absolute second derivative of a motion signal: how shaky a motion is.

    Args:
        speed: (B, S) pixels per second, NaN after each clip's end.
        fps: Frames per second.

    Returns:
        (B,) pixels per second cubed; 0 for clips of fewer than four frames.
    """
    if speed.shape[-1] < 3:
        return speed.new_zeros(len(speed))
    bend = (speed[:, 2:] - 2 * speed[:, 1:-1] + speed[:, :-2]).abs() * fps**2
    known = ~bend.isnan()
    return torch.where(known, bend, 0.0).sum(-1) / known.sum(-1).clamp(min=1)


def _pixel_grid(flow: Tensor) -> Tensor:
    """(1, 2, H, W): x and y of every pixel."""
    height, width = flow.shape[-2:]
    down, across = torch.meshgrid(
        torch.arange(height, device=flow.device, dtype=flow.dtype),
        torch.arange(width, device=flow.device, dtype=flow.dtype),
        indexing="ij",
    )
    return torch.stack([across, down])[None]
