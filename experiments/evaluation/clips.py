"""Score clips in memory against their music; `folder` scores video files.

    clips = score_clips(frames, fps, music_beats, names, music_ids)
    rows = clip_rows(clips)              # one dictionary a clip, controls included
    means = summarize(rows)              # means with intervals, resampled by song

Motion is measured from the frames, so methods are compared by what a viewer sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from metrics.functional.beats import keep_inside
from metrics.functional.bootstrap import Interval, cluster_bootstrap
from metrics.functional.controls import align_across
from metrics.functional.matching import av_align, beat_f1, beat_f1_corrected, local_peaks
from metrics.functional.motion import MotionSignal
from metrics.functional.motion_video import motion_and_magnitude, motion_from_video
from metrics.functional.optical_flow import FlowMethod
from metrics.functional.phase import phase_cosine
from metrics.functional.presets import preset_alignment, preset_motion_beats
from metrics.functional.warping import signal_jerk
from metrics.motion_music_alignment import clip_scores
from metrics.motion_source import beats_of

#: Number of other songs whose beats each clip is scored with.
OTHER_SONGS = 16
Row = dict[str, Any]


@dataclass(frozen=True)
class ScoredClip:
    """Scores of one clip, and its beats for the controls."""

    name: str
    music_id: str
    scores: dict[str, float]
    motion_beats: Tensor
    """(M,) seconds."""
    music_beats: Tensor
    """(N,) seconds."""
    window: Tensor
    """(2,) start and end in seconds of the time in which beats count."""


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
        frames: Frames (B, T, 3, H, W), uint8 or floating point in [0, 1].
        fps: Frames a second.
        music_beats: Beats (B, N) in seconds from each clip's first frame, padded with NaN. Track
            them on the whole song and slice; keep a beat before and after for the controls.
        names: Name of each clip.
        music_ids: Music id of each clip.
        flow: Optical flow method.
        onsets: Onsets of the sound (B, N) in seconds, padded with NaN, to compute AV-Align, too.
    """
    if onsets is None:
        signal = motion_from_video(frames, fps, method=flow)
        return score_motion(signal, fps, music_beats, names, music_ids)
    signal, magnitude = motion_and_magnitude(frames, fps, method=flow)
    clips = score_motion(signal, fps, music_beats, names, music_ids)
    onsets = keep_inside(onsets, torch.tensor([0.0, frames.shape[1] / fps]))
    found = av_align(onsets, local_peaks(magnitude, fps).to(onsets), fps)
    for clip, value in zip(clips, found, strict=True):
        clip.scores["av_align"] = float(value)
    return clips


def score_motion(
    signal: MotionSignal,
    fps: float,
    music_beats: Tensor,
    names: Sequence[str],
    music_ids: Sequence[str],
) -> list[ScoredClip]:
    """Score B clips whose motion is known, for instance from latent flow; see `score_clips`."""
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
    """Return one dictionary a clip, by name: name, music, scores, and the score with other music.

    `other_music` is the mean corrected score with the beats of one clip of each other song: the
    first by name of each of up to 16 songs, evenly taken from all; `other_difference` is the
    corrected score minus `other_music`. Both are NaN if all clips have the same song. Beats are
    those of the other clip's first seconds, so the clips should have the same length.
    """
    ordered = sorted(clips, key=lambda clip: clip.name)
    songs: dict[str, ScoredClip] = {}
    for clip in ordered:
        songs.setdefault(clip.music_id, clip)
    rows: list[Row] = []
    for clip in ordered:
        others = [song.music_beats for music, song in songs.items() if music != clip.music_id]
        wrong = float("nan")
        if others:
            picked = others[:: -(-len(others) // OTHER_SONGS)]
            beats = pad_sequence(picked, batch_first=True, padding_value=torch.nan)
            found = align_across(clip.motion_beats[None], beats, clip.window[None])
            wrong = float(found.corrected.mean())
        difference = clip.scores["corrected"] - wrong
        controls = {"other_music": wrong, "other_difference": difference}
        rows.append({"clip": clip.name, "music_id": clip.music_id, **clip.scores, **controls})
    return rows


def summarize(rows: Sequence[Row], draws: int = 2000, seed: int = 0) -> dict[str, Interval]:
    """Return the mean of every score with its 95% bootstrap interval, resampled by song."""
    music = [str(row["music_id"]) for row in rows]
    names = [key for key, value in (rows[0] if rows else {}).items() if isinstance(value, float)]
    return {
        name: cluster_bootstrap([row[name] for row in rows], music, draws=draws, seed=seed)
        for name in names
    }
