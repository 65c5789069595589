"""The Beat Alignment Score (BAS) and its level under chance.

BAS measures how near each beat of one list is to the closest beat of the other:

    BAS(q, t) = mean over q of exp(-min_t (q - t)^2 / (2 sigma^2))        AIST++, Li et al. 2021

Its value for unrelated beats is not zero: it grows with sigma and
with the number of targets (about 0.21 for sigma = 50 ms at 100 beats per minute). So a raw
value can only be interpreted with that level, which `alignment_chance` gives in closed form.

Beats: (B, N) tensors of seconds, ascending, padded with NaN (see `metrics.functional.beats`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metrics.functional.beats import as_batch, count_beats, keep_inside

Direction = Literal["motion_to_music", "music_to_motion"]

#: Standard deviation of the kernel, seconds: three frames at 60 frames per second.
SIGMA_S = 0.05
# Farther than any beat, yet finite: the gradient of exp(-inf^2) would be NaN.
FAR_AWAY_S = 1e4


def nearest_distance(queries: Tensor, targets: Tensor) -> Tensor:
    """Distance of each query beat to the nearest target beat.

    Args:
        queries: (..., M) seconds, NaN-padded.
        targets: (..., N) seconds, NaN-padded.

    Returns:
        (..., M); 1e4 without targets or where the query is padding.
    """
    no_query, no_target = queries.isnan(), targets.isnan()
    if targets.shape[-1] == 0:
        return torch.full_like(queries, FAR_AWAY_S)
    queries, targets = queries.nan_to_num(0.0), targets.nan_to_num(0.0)
    distance = (queries[..., :, None] - targets[..., None, :]).abs()
    absent = no_query[..., :, None] | no_target[..., None, :]
    return torch.where(absent, FAR_AWAY_S, distance).amin(-1)


def beat_alignment(queries: Tensor, targets: Tensor, sigma: float = SIGMA_S) -> Tensor:
    """BAS: mean over the query beats of a Gaussian of the distance to the nearest target beat.

    Motion beats as queries and music beats as targets give the direction of AIST++; the other
    way round, that of Bailando. Unit-free: pass frames and sigma in frames if you like.

    Args:
        queries: (..., M), NaN-padded.
        targets: (..., N), NaN-padded.
        sigma: Standard deviation of the kernel, in the unit of the beats.

    Returns:
        (...) in [0, 1]; 0 where either list is empty.
    """
    kernel = torch.exp(-0.5 * (nearest_distance(queries, targets) / sigma) ** 2)
    present = ~queries.isnan()
    total = torch.where(present, kernel, 0.0).sum(-1)
    return total / present.sum(-1).clamp(min=1)


def alignment_chance(targets: Tensor, window: Tensor, sigma: float = SIGMA_S) -> Tensor:
    """Expected BAS of query beats spread evenly over the window, in closed form.

        E0 = 1 / |S| sum_j sigma sqrt(pi / 2) [erf((hi_j - t_j) / (sigma sqrt 2))
                                             - erf((lo_j - t_j) / (sigma sqrt 2))]

    with [lo_j, hi_j] the part of the window nearest to target j: cut at the midpoints between
    targets and at the window's ends.

    Args:
        targets: (..., N), NaN-padded.
        window: (..., 2) start and end, in the same unit.
        sigma: Standard deviation of the kernel, in the same unit.

    Returns:
        (...) in [0, 1]; 0 without targets or for an empty window.
    """
    targets = targets.sort(-1).values
    start, end = window[..., :1].to(targets), window[..., 1:].to(targets)
    if targets.shape[-1] == 0:
        return torch.zeros_like((start + end)[..., 0])
    absent = targets.isnan()
    middle = 0.5 * (targets[..., 1:] + targets[..., :-1])
    low = torch.cat([start.expand_as(targets[..., :1]), middle], -1)
    high = torch.cat([middle, end.expand_as(targets[..., :1])], -1)
    high = torch.where(high.isnan(), end, high)
    low, high = low.clamp(min=start, max=end), high.clamp(min=start, max=end)
    scale = sigma * math.sqrt(2.0)
    center = targets.nan_to_num(0.0)
    area = torch.erf((high - center) / scale) - torch.erf((low.nan_to_num(0.0) - center) / scale)
    total = torch.where(absent, 0.0, area).sum(-1) * sigma * math.sqrt(math.pi / 2)
    length = (end - start)[..., 0]
    return torch.where(length > 0, total / torch.where(length > 0, length, 1.0), 0.0)


def correct_for_chance(score: Tensor, chance: Tensor) -> Tensor:
    """(score - chance) / (1 - chance): 0 at chance, 1 at best; 0 where chance is already 1."""
    room = 1.0 - chance
    return torch.where(room > 1e-6, (score - chance) / room.clamp(min=1e-6), 0.0)


@dataclass(frozen=True)
class AlignmentScores:
    """Alignment of each clip; every field is a tensor (B,)."""

    corrected: Tensor
    """(BAS - E0) / (1 - E0), the headline; 0 where a list is empty."""
    raw: Tensor
    """BAS in [0, 1]."""
    chance: Tensor
    """E0, the expected BAS of beats spread evenly over the window."""
    motion_beats: Tensor
    """Motion beats inside the window."""
    music_beats: Tensor
    """Music beats inside the window."""


def align(
    motion: Tensor,
    music: Tensor,
    window: Tensor,
    sigma: float = SIGMA_S,
    direction: Direction = "motion_to_music",
) -> AlignmentScores:
    """BAS, its chance level and the chance-corrected score of each clip.

    Args:
        motion: (M,) or (B, M) motion beats in seconds, NaN-padded.
        music: (N,) or (B, N) music beats in seconds, NaN-padded.
        window: (2,) or (B, 2) seconds; beats outside are dropped from both lists
            (see `observable_window`).
        sigma: Standard deviation of the kernel in seconds.
        direction: Which beats are the queries; the chance level is that of the queries.

    Raises:
        ValueError: An unknown direction, or different numbers of clips.
    """
    motion, music = as_batch(motion), as_batch(music)
    if direction not in ("motion_to_music", "music_to_motion"):
        raise ValueError(
            f"direction is {direction!r}; expected 'motion_to_music' or 'music_to_motion'."
        )
    if len(motion) != len(music):
        raise ValueError(
            f"Motion beats of {len(motion)} clips came with music beats of {len(music)} clips; "
            "expected one row of each for every clip."
        )
    dtype = torch.promote_types(motion.dtype, music.dtype)
    motion = keep_inside(motion.to(dtype), window)
    music = keep_inside(music.to(dtype), window)
    queries, targets = (motion, music) if direction == "motion_to_music" else (music, motion)
    raw = beat_alignment(queries, targets, sigma)
    window = window.to(raw).expand(len(raw), 2)
    chance = alignment_chance(targets, window, sigma)
    counts = count_beats(motion), count_beats(music)
    both = (counts[0] > 0) & (counts[1] > 0)
    corrected = torch.where(both, correct_for_chance(raw, chance), 0.0)
    return AlignmentScores(corrected, raw, chance, *counts)
