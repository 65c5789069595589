"""Scores that pair beats one to one: F1, AV-Align, beat coverage and beat hit.

Beats: (B, N) tensors of seconds, ascending, padded with NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metrics.functional.alignment import correct_for_chance
from metrics.functional.beats import (
    as_batch,
    count_beats,
    keep_inside,
    pack_times,
    strict_minima,
    time_slack,
)

#: Tolerance of the F1 score, seconds (mir_eval.beat.f_measure).
F1_TOLERANCE_S = 0.07
#: Number of circular shifts that give the chance level of F1.
F1_SHIFTS = 128


def match_count(first: Tensor, second: Tensor, tolerance: float, strict: bool = False) -> Tensor:
    """Return the largest number of one-to-one pairs of beats within the tolerance.

    Walking both ascending lists together and pairing whatever can be paired is optimal, since
    every beat has the same tolerance.

    Args:
        first: (B, M) seconds, ascending, NaN-padded.
        second: (B, N) seconds, ascending, NaN-padded.
        tolerance: Seconds.
        strict: Exclude pairs exactly `tolerance` apart.

    Returns:
        (B,) int64.
    """
    dtype = torch.promote_types(first.dtype, second.dtype)
    first, second = first.to(dtype), second.to(dtype)
    slack = time_slack(dtype)
    limit = tolerance - slack if strict else tolerance + slack
    counts = count_beats(first), count_beats(second)
    at = torch.zeros_like(counts[0]), torch.zeros_like(counts[1])
    pairs = torch.zeros_like(counts[0])
    if first.shape[-1] == 0 or second.shape[-1] == 0:
        return pairs
    for _ in range(int((counts[0] + counts[1]).max())):
        left = first.gather(-1, at[0].clamp(max=first.shape[-1] - 1)[:, None])[:, 0]
        right = second.gather(-1, at[1].clamp(max=second.shape[-1] - 1)[:, None])[:, 0]
        going = (at[0] < counts[0]) & (at[1] < counts[1])
        apart = left - right
        near = (apart.abs() < limit) if strict else (apart.abs() <= limit)
        pairs = pairs + (going & near)
        at = (
            at[0] + (going & (near | (apart < 0))),
            at[1] + (going & (near | (apart > 0))),
        )
    return pairs


def f1_from_matches(pairs: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """2 pairs / (first + second); 0 without pairs."""
    return 2 * pairs / (first + second).clamp(min=1)


def beat_f1(motion: Tensor, music: Tensor, tolerance: float = F1_TOLERANCE_S) -> Tensor:
    """F1 score of motion beats as estimates of the music beats.

    Equals `mir_eval.beat.f_measure` (Davies et al. 2009) without its trimming of the first five
    seconds.

    Args:
        motion: (M,) or (B, M) seconds, NaN-padded.
        music: (N,) or (B, N) seconds, NaN-padded.
        tolerance: Seconds, inclusive.

    Returns:
        (B,) in [0, 1]; 0 where either list is empty.
    """
    motion, music = as_batch(motion).sort(-1).values, as_batch(music).sort(-1).values
    pairs = match_count(motion, music, tolerance)
    return f1_from_matches(pairs.to(motion.dtype), count_beats(motion), count_beats(music))


def beat_f1_chance(
    motion: Tensor,
    music: Tensor,
    window: Tensor,
    tolerance: float = F1_TOLERANCE_S,
    shifts: int = F1_SHIFTS,
) -> Tensor:
    """Mean F1 over circular shifts of the motion beats inside the window.

    The shifts are (k + 1/2) |S| / shifts for k = 0 ... shifts - 1, so none of them is zero and
    the rhythm of the motion beats is kept.

    Args:
        motion: (B, M) seconds, NaN-padded.
        music: (B, N) seconds, NaN-padded.
        window: (2,) or (B, 2) seconds; beats outside are dropped.
        tolerance: Seconds.
        shifts: Number of shifts.

    Returns:
        (B,) in [0, 1]; 0 where a list or the window is empty.
    """
    motion, music = as_batch(motion), as_batch(music)
    window = window.to(motion).expand(len(motion), 2)
    motion, music = keep_inside(motion, window), keep_inside(music, window)
    start = window[:, :1]
    length = window[:, 1:] - start
    usable = length[:, 0] > 0
    length = torch.where(length > 0, length, 1.0)
    offsets = (torch.arange(shifts).to(motion) + 0.5) / shifts
    moved = (motion - start)[:, None] + offsets[:, None] * length[:, None]
    moved = (start[:, None] + moved % length[:, None]).sort(-1).values
    clips, beats = motion.shape
    again = music[:, None].expand(-1, shifts, -1).reshape(clips * shifts, -1)
    scores = beat_f1(moved.reshape(clips * shifts, beats), again, tolerance)
    return torch.where(usable, scores.reshape(clips, shifts).mean(-1), 0.0)


def beat_f1_corrected(
    motion: Tensor,
    music: Tensor,
    window: Tensor,
    tolerance: float = F1_TOLERANCE_S,
    shifts: int = F1_SHIFTS,
) -> Tensor:
    """F1 inside the window with its chance level (`beat_f1_chance`) taken out: (B,), at most 1."""
    motion, music = as_batch(motion), as_batch(music)
    inside = keep_inside(motion, window), keep_inside(music, window)
    score = beat_f1(*inside, tolerance)
    chance = beat_f1_chance(*inside, window, tolerance, shifts)
    both = (count_beats(inside[0]) > 0) & (count_beats(inside[1]) > 0)
    return torch.where(both, correct_for_chance(score, chance), 0.0)


def av_align(audio: Tensor, video: Tensor, fps: float) -> Tensor:
    """Intersection over union of audio onsets and motion peaks (TempoTokens, Yariv et al. 2024).

    Args:
        audio: (N,) or (B, N) onsets in seconds, NaN-padded.
        video: (M,) or (B, M) peaks of the motion in seconds, NaN-padded.
        fps: Frames per second; a pair is strictly within one frame.

    Returns:
        (B,) in [0, 1]; 0 where both lists are empty (the published code divides by zero).
    """
    audio, video = as_batch(audio).sort(-1).values, as_batch(video).sort(-1).values
    pairs = match_count(audio, video, 1.0 / fps, strict=True)
    union = count_beats(audio) + count_beats(video) - pairs
    return pairs.to(audio.dtype) / union.clamp(min=1)


def local_peaks(signal: Tensor, fps: float, least: float = 0.1) -> Tensor:
    """Motion peaks of AV-Align: strict local maxima of at least `least`, at index / fps seconds.

    Args:
        signal: (B, T) mean flow magnitudes in pixels per step, the first value listed twice.
        fps: Frames per second.
        least: Lowest peak that counts, pixels.

    Returns:
        (B, M) seconds, NaN-padded.
    """
    signal = as_batch(signal)
    peaks = strict_minima(-signal, 1) & (signal >= least)
    return pack_times(torch.arange(signal.shape[-1]).to(signal).expand_as(signal) / fps, peaks)


def beat_coverage_and_hit(
    beats: Tensor, truth: Tensor, duration_s: float, bin_s: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Beat coverage and beat hit of generated music (CDCD, Zhu et al. 2023; LORIS, Yu et al. 2023).

    Both lists are reduced to bins of one second. Music is compared with music: these two
    do not evaluate videos and are included for comparison with published tables.

    Args:
        beats: (B, M) onsets of the generated music in seconds, NaN-padded.
        truth: (B, N) onsets of the true music in seconds, NaN-padded.
        duration_s: Length of the clips in seconds.
        bin_s: Width of a bin in seconds.

    Returns:
        Coverage (bins with a beat / bins with a true beat) and hit (bins with both / bins with a
        true beat), each (B,); 0 without true beats.
    """
    bins = max(1, round(duration_s / bin_s))

    def occupied(times: Tensor) -> Tensor:
        times = as_batch(times)
        present = ~times.isnan()
        place = (times.nan_to_num(0.0) / bin_s).floor().long().clamp(0, bins - 1)
        counts = torch.zeros(len(times), bins, dtype=torch.long, device=times.device)
        return counts.scatter_add(-1, place, present.long()) > 0

    made, true = occupied(beats), occupied(truth)
    wanted = true.sum(-1).clamp(min=1)
    return made.sum(-1) * true.any(-1) / wanted, (made & true).sum(-1) / wanted
