"""How fast a dancer moves from each frame to the next, from flow, latent flow or keypoints.

Whatever the source, the result is a `MotionSignal` in pixels per second, so that one gate and one
definition of a motion beat serve all of them.

Shape letters: B clips, T frames, S = T - 1 steps, H W pixels, h w latent cells, J keypoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metrics.functional.beats import GATE_PX_S
from metrics.functional.median import median

#: Frame size, in pixels along the longer side, in which the gate's thresholds are stated.
GATE_SIZE = 128
#: A pixel belongs to the moving region if its largest speed exceeds this many pixels per second
#: and this share of the clip's largest speed.
REGION_PX_S = 2.5
REGION_SHARE = 0.1


@dataclass(frozen=True)
class MotionSignal:
    """Speed of each step of each clip."""

    speed: Tensor
    """(B, S) pixels per second, NaN after each clip's end."""
    activity: Tensor
    """(B,) mean speed of the moving region over the clip, pixels per second; 0 if nothing moves."""
    size: int
    """Longer side of the frames in pixels."""

    @property
    def frames(self) -> Tensor:
        """(B,) number of frames of each clip; at least 1."""
        return (~self.speed.isnan()).sum(-1) + 1

    @property
    def moving(self) -> Tensor:
        """(B,) bool: the moving region is faster than 2 px/s in frames of 128 pixels."""
        return self.activity >= GATE_PX_S * self.size / GATE_SIZE

    @classmethod
    def join(cls, signals: list[MotionSignal]) -> MotionSignal:
        """One batch from several; shorter clips are padded with NaN.

        Raises:
            ValueError: The signals come from frames of different sizes.
        """
        sizes = {signal.size for signal in signals}
        if len(sizes) != 1:
            raise ValueError(
                f"Motion signals of frame sizes {sorted(sizes)} cannot share a batch; resize the "
                "frames to one size first."
            )
        steps = max(signal.speed.shape[-1] for signal in signals)
        speed = [
            torch.nn.functional.pad(s.speed, (0, steps - s.speed.shape[-1]), value=torch.nan)
            for s in signals
        ]
        activity = torch.cat([signal.activity for signal in signals])
        return cls(torch.cat(speed), activity, sizes.pop())


def camera_motion(displacement: Tensor) -> Tensor:
    """The camera's part in the displacements of a step: their spatial median.

    Right as long as the background fills more than half of the frame.

    Args:
        displacement: (..., 2, H, W).

    Returns:
        (..., 2).
    """
    return median(displacement.flatten(-2))


def displacement_lengths(displacement: Tensor, remove_camera: bool = True) -> Tensor:
    """Length of each displacement once the camera's motion is taken out.

    Args:
        displacement: (..., 2, H, W).
        remove_camera: Subtract `camera_motion`.

    Returns:
        (..., H, W).
    """
    if remove_camera and displacement.numel():
        displacement = displacement - camera_motion(displacement)[..., None, None]
    across, down = displacement.unbind(-3)
    return torch.hypot(across, down)


def motion_from_lengths(
    lengths: Tensor,
    fps: float,
    size: int,
    frames: Tensor | None = None,
    seen: Tensor | None = None,
) -> MotionSignal:
    """Mean length of each step and the activity of the moving region.

    Args:
        lengths: (B, S, P) pixels moved in each step by each of P places.
        fps: Frames per second.
        size: Longer side of the frames in pixels.
        frames: (B,) valid frames of each clip; None means all S + 1.
        seen: (B, S, P) bool, False where a place was not seen; None means all.
    """
    clips, steps, places = lengths.shape
    step = torch.arange(steps, device=lengths.device)
    if frames is None:
        valid = torch.ones(clips, steps, dtype=torch.bool, device=lengths.device)
    else:
        valid = step < frames.to(lengths.device)[:, None] - 1
    known = lengths * (valid[..., None] * fps)
    if seen is None:
        count = valid.to(known.dtype) * places
    else:
        known = torch.where(seen, known, 0.0)
        count = (seen & valid[..., None]).to(known.dtype).sum(-1)
    mean = known.sum(-1) / count.clamp(min=1)
    mean = torch.where(count > 0, mean, torch.nan)
    signal = torch.where(valid, _fill_gaps(mean, valid), torch.nan)
    if steps == 0:
        return MotionSignal(signal, torch.zeros_like(signal.sum(-1)), size)
    largest = known.amax(1)
    least = (REGION_SHARE * largest.amax(-1, keepdim=True)).clamp(
        min=REGION_PX_S * size / GATE_SIZE
    )
    region = (largest > least).to(known.dtype)[..., None]
    if seen is None:
        count = valid.to(known.dtype).sum(-1) * region.sum((1, 2))
    else:
        count = ((seen & valid[..., None]).to(known.dtype) @ region).sum((1, 2))
    activity = (known @ region).sum((1, 2)) / count.clamp(min=1)
    return MotionSignal(signal, activity, size)


def motion_from_flow(
    flow: Tensor,
    fps: float,
    *,
    frames: Tensor | None = None,
    size: int | None = None,
    remove_camera: bool = True,
) -> MotionSignal:
    """Motion signal of optical flow between consecutive frames.

    Args:
        flow: (B, S, 2, H, W) pixels from frame k to frame k + 1.
        fps: Frames per second.
        frames: (B,) valid frames of each clip; None means all S + 1.
        size: Longer side of the frames the pixels belong to; that of `flow` by default.
        remove_camera: Subtract each step's spatial median.
    """
    size = max(flow.shape[-2:]) if size is None else size
    lengths = displacement_lengths(flow, remove_camera).flatten(-2)
    return motion_from_lengths(lengths, fps, size, frames)


def motion_from_latent_flow(
    latent_flow: Tensor,
    fps: float,
    size: int | tuple[int, int] = GATE_SIZE,
    *,
    frames: Tensor | None = None,
    remove_camera: bool = True,
) -> MotionSignal:
    """Motion signal of the model's own latent flow: no pixels needed.

    The sampling grid says for each place where it comes from in the reference image; its change
    from one frame to the next is the motion of what is seen there, with the sign turned.

    Args:
        latent_flow: (B, T, C, h, w), C = 2 or 3: absolute sampling grid (x, y), -1 and 1 on the
            centers of the outer pixels, and an occlusion map, which is not used.
        fps: Frames per second.
        size: Frame size in pixels: one side of a square, or (height, width).
        frames: (B,) valid frames of each clip; None means all T.
        remove_camera: Subtract each step's spatial median.

    Raises:
        ValueError: `latent_flow` has another shape.
    """
    if latent_flow.ndim != 5 or latent_flow.shape[2] not in (2, 3):
        raise ValueError(
            f"Latent flow has shape {tuple(latent_flow.shape)}; expected (B, T, 3, h, w) with the "
            "sampling grid (x, y) and the occlusion map."
        )
    height, width = (size, size) if isinstance(size, int) else size
    grid = latent_flow[:, :, :2]
    if not grid.is_floating_point() or grid.dtype in (torch.float16, torch.bfloat16):
        grid = grid.float()
    pixels = torch.tensor([width - 1, height - 1]).to(grid) / 2
    change = (grid[:, 1:] - grid[:, :-1]) * pixels[:, None, None]
    lengths = displacement_lengths(change, remove_camera).flatten(-2)
    return motion_from_lengths(lengths, fps, max(height, width), frames)


def motion_from_keypoints(
    keypoints: Tensor,
    fps: float,
    size: int = GATE_SIZE,
    *,
    frames: Tensor | None = None,
    least_visibility: float = 0.5,
) -> MotionSignal:
    """Motion signal of 2-D keypoints: mean speed of the joints seen in both frames of a step.

    Nothing is subtracted for the camera: joints say nothing about the background.

    Args:
        keypoints: (B, T, J, 2) or (B, T, J, 3): x and y in pixels, and a visibility in [0, 1].
            A joint that is NaN is not seen. From [-1, 1] (pixel centers) to pixels:
            (x + 1) / 2 * (size - 1).
        fps: Frames per second.
        size: Longer side of the frames in pixels.
        frames: (B,) valid frames of each clip; None means all T.
        least_visibility: Joints below it are not seen.

    Raises:
        ValueError: `keypoints` has another shape.
    """
    if keypoints.ndim != 4 or keypoints.shape[-1] not in (2, 3):
        raise ValueError(
            f"Keypoints have shape {tuple(keypoints.shape)}; expected (B, T, J, 2) or "
            "(B, T, J, 3) with x, y in pixels and a visibility."
        )
    lengths = torch.linalg.vector_norm(keypoints[:, 1:, :, :2] - keypoints[:, :-1, :, :2], dim=-1)
    seen = ~lengths.isnan()
    if keypoints.shape[-1] == 3:
        visible = keypoints[..., 2] >= least_visibility
        seen = seen & visible[:, 1:] & visible[:, :-1]
    return motion_from_lengths(lengths, fps, size, frames, seen)


def motion_profile(signal: MotionSignal, points: int = 32) -> Tensor:
    """A clip's speed over time as features for `MotionDiversity` and `NearestTrainingClip`.

    Args:
        signal: Motion of B clips.
        points: D, the number of places between the first and the last step at which the speed is
            read.

    Returns:
        (B, D) pixels per second in frames of 128; 0 for clips of one frame.
    """
    steps = signal.frames - 1
    if signal.speed.shape[-1] == 0:
        return signal.speed.new_zeros(len(signal.speed), points)
    place = torch.linspace(0, 1, points).to(signal.speed) * (steps - 1).clamp(min=0)[:, None]
    before = place.floor().long()
    after = torch.minimum(before + 1, (steps - 1).clamp(min=0)[:, None])
    known = signal.speed.nan_to_num(0.0)
    start, end = known.gather(-1, before), known.gather(-1, after)
    return (start + (place - before) * (end - start)) * (GATE_SIZE / signal.size)


def _fill_gaps(signal: Tensor, valid: Tensor) -> Tensor:
    """Draw straight lines over NaN inside the valid part; at its ends hold the nearest value."""
    known = ~signal.isnan()
    if bool((known | ~valid).all()):
        return signal
    place = torch.arange(signal.shape[-1], device=signal.device).expand_as(signal)
    last = signal.shape[-1]
    left = torch.where(known, place, -1).cummax(-1).values
    right = torch.where(known, place, last).flip(-1).cummin(-1).values.flip(-1)
    left, right = torch.where(left < 0, right, left), torch.where(right >= last, left, right)
    none_known = (left < 0) | (left >= last)
    left, right = left.clamp(0, last - 1), right.clamp(0, last - 1)
    start, end = signal.gather(-1, left), signal.gather(-1, right)
    share = (place - left) / (right - left).clamp(min=1)
    return torch.where(none_known, 0.0, start + share * (end - start))
