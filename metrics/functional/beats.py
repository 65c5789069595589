"""Motion beats: the times at which a dancer's speed has a minimum.

Every list of beats here is a tensor (B, N) of seconds from the clip's first frame, ascending and
padded with NaN; every motion signal is a tensor (B, S) of speeds, one for each step from frame k to
frame k + 1, padded with NaN after the clip's end. A clip of T frames has S = T - 1 steps, and step
k belongs to the time (k + 1/2) / fps. This half step matters more than any other choice: without
it, dancers who hit every beat score 0.6 instead of 0.99 at 10 frames per second.

Shape letters: B clips, N music beats, M motion beats, S steps, T frames.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

#: Standard deviation of the smoothing of motion signals, seconds.
SMOOTHING_S = 0.05
#: Half-width of the neighborhood in which a motion beat is the lowest point, seconds.
ORDER_S = 0.1
#: Least prominence of a motion beat, as a share of the signal's range (95th - 5th percentile).
PROMINENCE = 0.1
#: Below this mean speed of the moving region a clip has no motion beats: pixels per second in
#: frames whose longer side is 128 pixels.
GATE_PX_S = 2.0


def time_slack(dtype: torch.dtype) -> float:
    """Tolerance for comparing times in seconds: 1.30 - 1.23 > 0.07 in floating point."""
    return 1e-9 if dtype == torch.float64 else 1e-5


def as_batch(beats: Tensor) -> Tensor:
    """(N,) to (1, N); (B, N) as it is; integers to float."""
    beats = beats if beats.is_floating_point() else beats.to(torch.float32)
    if beats.ndim == 1:
        return beats[None]
    if beats.ndim != 2:
        raise ValueError(
            f"Beats have shape {tuple(beats.shape)}; expected (N,) or (B, N) in seconds, padded "
            "with NaN."
        )
    return beats


def count_beats(beats: Tensor) -> Tensor:
    """Number of beats of each clip, (B,) int64."""
    return (~as_batch(beats).isnan()).sum(-1)


def observable_window(frames: int | Tensor, fps: float, batch: int = 1) -> Tensor:
    """Return the interval [1 / fps, (T - 2) / fps] in which a motion beat can be detected.

    Args:
        frames: T, one number for all clips or a tensor (B,).
        fps: Frames per second.
        batch: Number of clips if `frames` is one number.

    Returns:
        (B, 2) float64 seconds; the end is before the start for clips under three frames.
    """
    count = torch.as_tensor(frames, dtype=torch.float64)
    count = count.expand(batch) if count.ndim == 0 else count
    return torch.stack([torch.full_like(count, 1.0), count - 2.0], -1) / fps


def keep_inside(beats: Tensor, window: Tensor) -> Tensor:
    """Drop the beats outside each clip's window, both ends included.

    Args:
        beats: (B, N) seconds.
        window: (B, 2) or (2,) seconds.

    Returns:
        (B, N): the others, ascending, then NaN.
    """
    beats = as_batch(beats)
    window = window.to(beats).expand(len(beats), 2)
    slack = time_slack(beats.dtype)
    inside = (beats >= window[:, :1] - slack) & (beats <= window[:, 1:] + slack)
    return torch.where(inside, beats, torch.nan).sort(-1).values


def smooth(signal: Tensor, sigma: float) -> Tensor:
    """Gaussian smoothing along time; the signal is mirrored at its ends (d c b a | a b c d).

    Args:
        signal: (B, S), NaN after each clip's end.
        sigma: Standard deviation in steps; 0 leaves the signal as it is.

    Returns:
        (B, S) with the same padding.
    """
    if sigma <= 0 or signal.shape[-1] == 0:
        return signal
    radius = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2)
    weights = weights / weights.sum()
    padding = signal.isnan()
    length = (~padding).sum(-1, keepdim=True).clamp(min=1)
    step = torch.arange(signal.shape[-1], device=signal.device)
    filled = torch.where(padding, 0.0, signal)

    def moved(away: int) -> Tensor:
        place = (step + away) % (2 * length)
        return filled.gather(-1, torch.where(place >= length, 2 * length - 1 - place, place))

    # Both sides are added before they are weighed, far ones first, as scipy does: a signal that is
    # the same on both sides stays so to the last digit, and has no strict minimum by rounding.
    total = filled * weights[radius]
    for away in range(radius, 0, -1):
        total = total + (moved(-away) + moved(away)) * weights[radius + away]
    return torch.where(padding, torch.nan, total)


def strict_minima(signal: Tensor, order: int = 1) -> Tensor:
    """Interior steps that are lower than every step up to `order` away.

    Args:
        signal: (B, S), NaN after each clip's end.
        order: half-width of the neighborhood in steps; cut off at the clip's ends.

    Returns:
        (B, S) bool; never True on the first or last step of a clip.
    """
    steps = signal.shape[-1]
    lowest = ~signal.isnan()
    length = lowest.sum(-1, keepdim=True)
    place = torch.arange(steps, device=signal.device)
    lowest = lowest & (place > 0) & (place < length - 1)
    high = torch.where(signal.isnan(), torch.inf, signal)
    for away in range(1, min(order, steps - 1) + 1):
        lower = high[:, :-away] < high[:, away:]
        lowest[:, :-away] &= lower
        lowest[:, away:] &= high[:, away:] < high[:, :-away]
    return lowest


def prominences(signal: Tensor, minima: Tensor) -> Tensor:
    """How far the signal rises on both sides of each minimum before it falls below it.

    The mirror image of `scipy.signal.peak_prominences`.

    Args:
        signal: (B, S), NaN after each clip's end.
        minima: (B, S) bool.

    Returns:
        (B, S); NaN where `minima` is False.
    """
    found = torch.full_like(signal, torch.nan)
    clip, step = minima.nonzero(as_tuple=True)
    if len(clip) == 0:
        return found
    rows, depth = signal[clip], signal[clip, step][:, None]
    place = torch.arange(signal.shape[-1], device=signal.device)
    deeper = rows < depth
    left = torch.where(deeper & (place < step[:, None]), place, -1).amax(-1, keepdim=True)
    right = torch.where(deeper & (place > step[:, None]), place, len(place)).amin(-1, keepdim=True)
    rows = torch.where(rows.isnan(), -torch.inf, rows)
    before = torch.where((place > left) & (place <= step[:, None]), rows, -torch.inf).amax(-1)
    after = torch.where((place < right) & (place >= step[:, None]), rows, -torch.inf).amax(-1)
    return found.index_put((clip, step), torch.minimum(before, after) - depth[:, 0])


def vertex_offset(signal: Tensor) -> Tensor:
    """Where the parabola through each step and its neighbors turns, in steps from it.

    Args:
        signal: (B, S).

    Returns:
        (B, S) in [-0.5, 0.5]; 0 on the first and the last step and where the signal is straight.
    """
    offset = torch.zeros_like(signal)
    if signal.shape[-1] < 3:
        return offset
    before, here, after = signal[:, :-2], signal[:, 1:-1], signal[:, 2:]
    bend = before - 2 * here + after
    bent = bend > 0
    turn = 0.5 * (before - after) / torch.where(bent, bend, 1.0)
    offset[:, 1:-1] = torch.where(bent, turn.clamp(-0.5, 0.5), 0.0)
    return offset


def pack_times(times: Tensor, chosen: Tensor) -> Tensor:
    """The chosen entries of each row, ascending and padded with NaN to the longest: (B, M)."""
    kept = torch.where(chosen, times, torch.nan).sort(-1).values
    return kept[:, : int(chosen.sum(-1).max()) if chosen.numel() else 0]


def motion_beats(
    speed: Tensor,
    fps: float,
    *,
    moving: Tensor | None = None,
    smoothing_s: float = SMOOTHING_S,
    order_s: float = ORDER_S,
    prominence: float = PROMINENCE,
) -> Tensor:
    """Motion beats of a speed signal: smoothed, strict and prominent minima, at sub-frame times.

    Args:
        speed: (S,) or (B, S), any unit, NaN after each clip's end.
        fps: Frames per second.
        moving: (B,) bool, False for clips that are still and so have no beats (see
            `MotionSignal.moving`); None means that all move.
        smoothing_s: Standard deviation of the smoothing in seconds; 0 for none.
        order_s: half-width in seconds of the neighborhood in which a beat is lowest; at least
            one step.
        prominence: Least prominence as a share of the smoothed signal's range between its 5th
            and 95th percentiles.

    Returns:
        (B, M) seconds, ascending, NaN-padded. Beats are not yet cut to the observable window.

    Raises:
        ValueError: `speed` is not (S,) or (B, S), or `fps` is not positive.
    """
    speed = as_batch(speed)
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"fps is {fps}; expected a positive number of frames per second.")
    smoothed = smooth(speed, smoothing_s * fps)
    minima = strict_minima(smoothed, max(1, round(order_s * fps)))
    if moving is not None:
        minima = minima & moving.to(minima.device)[:, None]
    if smoothed.shape[-1]:
        ends = torch.tensor([0.05, 0.95], dtype=smoothed.dtype, device=smoothed.device)
        low, high = smoothed.nanquantile(ends, dim=-1)
        least = prominence * (high - low)
        minima = minima & (prominences(smoothed, minima) >= least[:, None])
    step = torch.arange(speed.shape[-1], device=speed.device, dtype=speed.dtype)
    return pack_times((step + 0.5 + vertex_offset(smoothed)) / fps, minima)
