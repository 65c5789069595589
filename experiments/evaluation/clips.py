"""Score clips in memory against their music (`evaluation_folder` reads anyone's videos).

    clips = score_clips(frames, fps, music_beats, names, music_ids)
    rows = clip_rows(clips)              # one dictionary a clip, controls included
    means = summarise(rows)              # means with intervals clustered by music

Motion is read from the frames, so methods are compared by what can be seen, whatever made it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from metrics.functional.beats import keep_inside
from metrics.functional.bootstrap import Interval, cluster_bootstrap
from metrics.functional.matching import av_align, beat_f1, beat_f1_corrected, local_peaks
from metrics.functional.motion import MotionSignal
from metrics.functional.motion_video import motion_and_magnitude, motion_from_video
from metrics.functional.optical_flow import FlowMethod
from metrics.functional.phase import phase_cosine
from metrics.functional.presets import preset_alignment, preset_motion_beats
from metrics.functional.warping import signal_jerk
from metrics.motion_music_alignment import clip_scores
from metrics.motion_source import beats_of

#: Number of other pieces of music that each clip is scored with.
OTHER_PIECES = 16
Row = dict[str, Any]


@dataclass(frozen=True)
class ScoredClip:
    """One clip's numbers, and its beats for the controls."""

    name: str
    music_id: str
    scores: dict[str, float]
    motion_beats: Tensor
    """(M,) seconds."""
    music_beats: Tensor
    """(N,) seconds."""
    window: Tensor
    """(2,) seconds in which beats count."""


def score_clips(
    frames: Tensor,
    fps: float,
    music_beats: Tensor,
    names: Sequence[str],
    music_ids: Sequence[str],
    flow: FlowMethod = "farneback",
    onsets: Tensor | None = None,
) -> list[ScoredClip]:
    """Score clips of equal length that are in memory.

    Args:
        frames: (B, T, 3, H, W) uint8 or floating point in [0, 1].
        fps: frames a second.
        music_beats: (B, N) seconds from each clip's first frame, NaN-padded. Track them on the
            whole piece and slice; keep a beat before and after the clip for the controls.
        names: name of each clip.
        music_ids: piece of music of each clip.
        flow: optical flow method.
        onsets: (B, N) seconds of the onsets of sound, NaN-padded, if AV-Align is wanted too.
    """
    if onsets is None:
        signal = motion_from_video(frames, fps, method=flow)
        return score_motion(signal, fps, music_beats, names, music_ids)
    signal, magnitude = motion_and_magnitude(frames, fps, method=flow)
    clips = score_motion(signal, fps, music_beats, names, music_ids)
    heard = keep_inside(onsets, torch.tensor([0.0, frames.shape[1] / fps]))
    found = av_align(heard, local_peaks(magnitude, fps).to(heard), fps)
    return [
        replace(clip, scores={**clip.scores, "av_align": float(value)})
        for clip, value in zip(clips, found, strict=True)
    ]


def score_motion(
    signal: MotionSignal,
    fps: float,
    music_beats: Tensor,
    names: Sequence[str],
    music_ids: Sequence[str],
) -> list[ScoredClip]:
    """`score_clips` for motion that is known already, for instance from latent flow.

    Args:
        signal: motion of B clips.
        fps: frames a second.
        music_beats: (B, N) seconds from each clip's first frame, NaN-padded.
        names: name of each clip.
        music_ids: piece of music of each clip.

    Raises:
        ValueError: different numbers of clips, beats, names and music ids.
    """
    counts = {len(signal.speed), len(music_beats), len(names), len(music_ids)}
    if len(counts) != 1:
        raise ValueError(
            f"{len(signal.speed)} clips came with {len(music_beats)} rows of beats, {len(names)} "
            f"names and {len(music_ids)} music ids; expected one of each a clip."
        )
    beats, window = beats_of(signal, fps)
    music = music_beats.to(beats)
    inside = torch.where((music >= window[:, :1]) & (music <= window[:, 1:]), music, torch.nan)
    table = clip_scores(signal, fps, music)
    table["f1"] = beat_f1(beats, inside)
    table["f1_corrected"] = beat_f1_corrected(beats, music, window)
    table["phase_cosine"] = phase_cosine(beats, inside)
    for preset in ("mint", "bailando"):
        seen = preset_motion_beats(signal.speed, fps, preset)
        table[f"bas_{preset}"] = preset_alignment(seen, music, preset, fps)
    table["speed"] = signal.speed.nanmean(-1).nan_to_num(0.0)
    table["jerk"] = signal_jerk(signal.speed, fps)
    table["seconds"] = signal.frames / fps
    return [
        ScoredClip(
            name=names[place],
            music_id=music_ids[place],
            scores={key: float(values[place]) for key, values in table.items()},
            motion_beats=beats[place][~beats[place].isnan()].cpu(),
            music_beats=music[place][~music[place].isnan()].cpu(),
            window=window[place].cpu(),
        )
        for place in range(len(names))
    ]


def clip_rows(clips: Sequence[ScoredClip]) -> list[Row]:
    """One dictionary a clip: name, music, scores, and the score with other clips' music.

    `other_music` is the corrected score with the beats of up to 16 other pieces, evenly taken
    from the clips in order of their names, and `other_difference` what the clip's own music adds
    to it; NaN where all clips share one piece. Beats are those of the first seconds of the other
    clip, so clips of one method should be of one length.
    """
    ordered = sorted(clips, key=lambda clip: clip.name)
    rows: list[Row] = []
    for clip in ordered:
        others = [other for other in ordered if other.music_id != clip.music_id]
        picked = others[:: max(1, -(-len(others) // OTHER_PIECES))]
        wrong = _with_other_music(clip, picked)
        rows.append(
            {
                "clip": clip.name,
                "music_id": clip.music_id,
                **clip.scores,
                "other_music": wrong,
                "other_difference": clip.scores["corrected"] - wrong,
            }
        )
    return rows


def _with_other_music(clip: ScoredClip, others: Sequence[ScoredClip]) -> float:
    from metrics.functional.controls import align_across

    if not others:
        return float("nan")
    beats = torch.nn.utils.rnn.pad_sequence(
        [other.music_beats for other in others], batch_first=True, padding_value=torch.nan
    )
    found = align_across(clip.motion_beats[None], beats, clip.window[None])
    return float(found.corrected.mean())


def summarise(rows: Sequence[Row], draws: int = 2000, seed: int = 0) -> dict[str, Interval]:
    """Mean of every score with its 95% interval, redrawing pieces of music.

    Args:
        rows: as from `clip_rows`.
        draws: bootstrap draws.
        seed: seed of the draws.
    """
    music = [str(row["music_id"]) for row in rows]
    names = [key for key, value in (rows[0] if rows else {}).items() if isinstance(value, float)]
    return {
        name: cluster_bootstrap([row[name] for row in rows], music, draws=draws, seed=seed)
        for name in names
    }
