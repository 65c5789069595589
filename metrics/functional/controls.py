"""Controls: the same score with music that does not belong to the dance.

A score must be compared with that of wrong music. There are two kinds: the clip's own beats shifted
by fractions of a beat, and the beats of other clips.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metrics.functional.alignment import SIGMA_S, AlignmentScores, Direction, align
from metrics.functional.beats import as_batch
from metrics.functional.phase import shift_beats

#: Number of parts of a beat by which the music is moved.
CONTROL_SHIFTS = 16


def control_fractions(count: int = CONTROL_SHIFTS) -> Tensor:
    """(k + 1/2) / count of a beat, k = 0 ... count - 1: evenly spread, the true place left out."""
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


def align_shifted(
    motion: Tensor,
    music: Tensor,
    window: Tensor,
    fractions: Tensor | None = None,
    sigma: float = SIGMA_S,
    direction: Direction = "motion_to_music",
) -> Tensor:
    """Compute corrected scores with the music shifted by fractions of a beat.

    Args:
        motion: (B, M) motion beats in seconds, NaN-padded.
        music: (B, N) music beats in seconds, NaN-padded; beats outside the window help, since
            they can be moved into it.
        window: (2,) or (B, 2) seconds.
        fractions: (K,) parts of a beat; `control_fractions()` by default.
        sigma: Standard deviation of the kernel in seconds.
        direction: As in `align`.

    Returns:
        (B, K).
    """
    motion, music = as_batch(motion), as_batch(music)
    parts = control_fractions() if fractions is None else fractions
    moved = shift_beats(music, parts.to(music))
    clips, count, _ = moved.shape
    window = window.to(music).expand(clips, 2)
    scores = align(
        motion.repeat_interleave(count, 0),
        moved.flatten(0, 1),
        window.repeat_interleave(count, 0),
        sigma,
        direction,
    )
    return scores.corrected.reshape(clips, count)


def align_across(
    motion: Tensor,
    music: Tensor,
    window: Tensor,
    sigma: float = SIGMA_S,
    direction: Direction = "motion_to_music",
) -> AlignmentScores:
    """Score the motion of every clip with the music of every clip.

    Args:
        motion: (B, M) motion beats in seconds, NaN-padded.
        music: (C, N) music beats in seconds, NaN-padded.
        window: (2,) or (B, 2) seconds, belonging to the motion.
        sigma: Standard deviation of the kernel in seconds.
        direction: As in `align`.

    Returns:
        `AlignmentScores` whose fields have shape (B, C).
    """
    motion, music = as_batch(motion), as_batch(music)
    clips, songs = len(motion), len(music)
    window = window.to(music).expand(clips, 2)
    flat = align(
        motion.repeat_interleave(songs, 0),
        music.repeat(clips, 1),
        window.repeat_interleave(songs, 0),
        sigma,
        direction,
    )
    return AlignmentScores(
        **{name: value.reshape(clips, songs) for name, value in vars(flat).items()}
    )


def other_music(music_ids: list[str]) -> Tensor:
    """(B, B) bool: True where the column's song is not the row's."""
    codes = {name: code for code, name in enumerate(dict.fromkeys(music_ids))}
    own = torch.tensor([codes[name] for name in music_ids])
    return own[:, None] != own[None, :]
