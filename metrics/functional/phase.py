"""Phase of motion beats between music beats, and music shifted by a fraction of a beat.

Beats: (B, N) tensors of seconds, ascending, padded with NaN.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metrics.functional.beats import as_batch, count_beats


def phase_cosine(motion: Tensor, music: Tensor) -> Tensor:
    """Mean of cos(2 pi phase) over the motion beats between two music beats.

    Needs no tolerance; 1 on the beat, -1 on the off-beat, 0 by chance.

    Args:
        motion: (M,) or (B, M) seconds, NaN-padded.
        music: (N,) or (B, N) seconds, ascending, NaN-padded.

    Returns:
        (B,) in [-1, 1]; 0 where no motion beat is between music beats.
    """
    motion, music = as_batch(motion), as_batch(music).sort(-1).values
    if music.shape[-1] < 2:
        return torch.zeros(len(motion), dtype=motion.dtype, device=motion.device)
    dtype = torch.promote_types(motion.dtype, music.dtype)
    motion, music = motion.to(dtype), music.to(dtype)
    last = count_beats(music)[:, None]
    ladder = torch.where(music.isnan(), torch.inf, music).contiguous()
    after = torch.searchsorted(ladder, motion.nan_to_num(-torch.inf).contiguous(), right=True)
    # A motion beat on the very last music beat belongs to the interval before it.
    after = torch.where(
        (after == last) & (motion <= ladder.gather(-1, last.clamp(min=1) - 1)), last - 1, after
    )
    between = ~motion.isnan() & (after > 0) & (after < last)
    after = after.clamp(1, music.shape[-1] - 1)
    start, end = music.gather(-1, after - 1), music.gather(-1, after)
    width = end - start
    between = between & (width > 0)
    phase = (motion - start) / torch.where(width > 0, width, 1.0)
    cosine = torch.where(between, torch.cos(2 * math.pi * phase), 0.0)
    return cosine.sum(-1) / between.sum(-1).clamp(min=1)


def shift_beats(beats: Tensor, fraction: float | Tensor) -> Tensor:
    """Shift every beat by a fraction of the local beat interval.

    The list is first continued by one interval on either side, so that a clip's window stays
    covered, and then read between its beats: b_i + fraction (b_{i+1} - b_i). It follows changes
    of tempo. A list of a single beat has no interval and is returned as it is.

    Args:
        beats: (N,) or (B, N) seconds, NaN-padded.
        fraction: Part of a beat in [-1, 1]; a tensor (K,) makes K shifted lists.

    Returns:
        (B, N + 1) seconds, or (B, K, N + 1) if `fraction` is a tensor.
    """
    beats = as_batch(beats).sort(-1).values
    parts = torch.as_tensor(fraction, dtype=beats.dtype, device=beats.device)
    count = count_beats(beats)[:, None]
    if beats.shape[-1] == 0:
        return beats.new_full((len(beats), *parts.shape, 1), torch.nan)
    last = (count - 1).clamp(min=0)
    nearby = (last - 1).clamp(min=0), torch.clamp(torch.ones_like(last), max=beats.shape[-1] - 1)
    before = 2 * beats[:, :1] - beats.gather(-1, nearby[1])
    behind = 2 * beats.gather(-1, last) - beats.gather(-1, nearby[0])
    longer = torch.cat([before, beats, torch.full_like(before, torch.nan)], -1)
    longer = longer.scatter(-1, count + 1, behind)
    gaps = longer[:, 1:] - longer[:, :-1]
    gaps = torch.where(count > 1, gaps, torch.where(gaps.isnan(), torch.nan, 0.0))
    if parts.ndim == 0:
        return longer[:, :-1] + parts * gaps
    return longer[:, None, :-1] + parts[None, :, None] * gaps[:, None]
