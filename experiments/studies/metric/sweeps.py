"""What the metric study varies, and what it measures of that."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.media.video import read_frames, write_video
from datamodules.synthetic.dataset import RenderedClip, render_clip
from datamodules.synthetic.music import PATTERNS
from experiments.studies.metric import members
from experiments.studies.metric.members import Beats, Dances, Scores, member_scores
from metrics import functional as F
from metrics.functional.motion_video import EDGE
from metrics.motion_source import beats_of

Condition = Callable[[Dances], Scores]


class Sweep(NamedTuple):
    """One thing that is varied, the unit of its values (empty for names), and the conditions."""

    title: str
    unit: str
    conditions: dict[str, Condition]


def scored(beats: Beats = members.true_beats, **rendering: Any) -> Condition:
    """Score all dances against these beats; `rendering` is passed to `Dances.perform`."""
    return lambda dances: member_scores(dances.perform(**rendering), beats)


def rendered(setting: str, values: Sequence[Any], offset: float = 0.0) -> dict[str, Condition]:
    """Return a condition for each value of one setting of the renderer."""
    return {f"{v:g}": scored(beat_offset=offset, **{setting: v}) for v in values}


def shifted(part: float) -> Condition:
    """Shift the music by a part of a beat."""
    return scored(lambda one: F.shift_beats(one.beats, part))


def stretched(percent: float) -> Condition:
    """Change the music's tempo; it is still in time at the middle of the clip."""
    factor = 1 + percent / 100
    return scored(lambda one: (one.beats - one.window.mean()) / factor + one.window.mean())


def of_genre(genre: str) -> Condition:
    """Score the dances of one genre."""
    return lambda dances: member_scores(one for one in dances.perform() if one.genre == genre)


def with_other_music(dances: Dances) -> Scores:
    """Score every dance against the music of another one."""
    return member_scores(dances.perform(), members.beats_of_others(dances.perform()))


def simulated(share: float) -> Condition:
    """Simulate motion beats of which a share hits the music."""
    return lambda dances: members.simulate(dances.perform(), share, 40, dances.random)


def add_noise(frames: Tensor, level: float, random: torch.Generator) -> Tensor:
    """Return frames (T, 3, H, W) uint8 with Gaussian noise of that standard deviation."""
    if level == 0:
        return frames
    noise = level * torch.randn(frames.shape, generator=random)
    return (frames.float() + noise).round().clamp(0, 255).to(torch.uint8)


def noisy(
    clip: RenderedClip, random: torch.Generator, level: float, still: bool = False
) -> RenderedClip:
    """Add noise to the frames, or to the first frame and its key points repeated."""
    if still:
        keypoints = np.repeat(clip.keypoints[:1], len(clip.keypoints), axis=0)
        clip = replace(clip, frames=clip.frames[:1].expand_as(clip.frames), keypoints=keypoints)
    return replace(clip, frames=add_noise(clip.frames, level, random))


def compressed(clip: RenderedClip, _: torch.Generator, crf: int) -> RenderedClip:
    """Encode the frames with H.264 and decode them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, clip.frames, 10, crf=crf)
        return replace(clip, frames=read_frames(path))


JITTER = (0, 0.25, 0.5, 1, 2)
OFFSETS = {f"{part:g}": shifted(part) for part in np.linspace(0, 1, 17).tolist()}
TEMPOS = {f"{p:+d}": stretched(p) for p in (-20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20)}
METERS = {
    "half": scored(lambda one: one.beats[:, ::2]),
    "true": scored(),
    "double": scored(members.doubled_beats),
}
NOISE = {f"{n}": scored(change=partial(noisy, level=n)) for n in (0, 2, 4, 8, 16)}
COMPRESSION = {f"{c}": scored(change=partial(compressed, crf=c)) for c in (18, 28, 36, 44)}
SOURCES = {"": members.true_beats, ", tracked": members.tracked_beats}
RHYTHMS = {p + end: scored(beats, pattern=p) for p in PATTERNS for end, beats in SOURCES.items()}
WRONG = {
    "on the beat": scored(),
    "other clip's music": with_other_music,
    "shifted by half a beat": scored(beat_offset=0.5),
    "still": scored(change=partial(noisy, level=0, still=True)),
    "still, with noise": scored(change=partial(noisy, level=4, still=True)),
}
HITS = {f"{share:.1f}": simulated(share) for share in np.linspace(0, 1, 11).tolist()}
LIMBS = "limbs on the beat (the others shifted by half a beat)"
#: Everything that is varied, in the order of the report.
SWEEPS = {
    "offset": Sweep("offset of the music", "beats", OFFSETS),
    "tempo": Sweep("error of the tempo", "percent", TEMPOS),
    "metre": Sweep("beats taken at half, true and double time", "", METERS),
    "jitter": Sweep("jitter of the figure, on the beat", "px", rendered("jitter_px", JITTER)),
    "jitter_off": Sweep(
        "jitter of the figure, shifted by half a beat", "px", rendered("jitter_px", JITTER, 0.5)
    ),
    "limbs": Sweep(LIMBS, "share", rendered("limbs_on_beat", (0, 0.25, 0.5, 0.75, 1))),
    "fps": Sweep("frame rate", "frames/s", rendered("fps", (10, 15, 20, 25, 30, 60))),
    "fps_off": Sweep(
        "frame rate, shifted by half a beat", "frames/s", rendered("fps", (10, 20, 30, 60), 0.5)
    ),
    "size": Sweep("resolution", "px", rendered("size", (32, 64, 128, 256))),
    "shake": Sweep("camera shake", "px", rendered("camera_shake_px", (0, 0.5, 1, 2))),
    "pan": Sweep(
        "slow pan and zoom", "share of the width", rendered("camera_motion", (0, 0.02, 0.05, 0.1))
    ),
    "noise": Sweep("noise on the pixels", "of 255, standard deviation", NOISE),
    "compression": Sweep("H.264 compression", "constant rate factor", COMPRESSION),
    "rhythms": Sweep("rhythms, with true and with tracked beats", "", RHYTHMS),
    "genres": Sweep("genres", "", {genre: of_genre(genre) for genre in members.GENRES}),
    "wrong": Sweep("right and wrong performances", "", WRONG),
    "hits": Sweep("share of beats hit, the others anywhere (simulated lists)", "share", HITS),
}


def measure_sweep(sweep: Sweep, dances: Dances) -> dict[str, Any]:
    """Return the title, the conditions and the mean of every member for each of them."""
    found = {place: condition(dances) for place, condition in sweep.conditions.items()}
    # A few dances do not have all genres.
    found = {place: scores for place, scores in found.items() if scores["corrected"].size}
    means = {
        member: [round(float(scores[member].mean()), 4) for scores in found.values()]
        for member in next(iter(found.values()))
    }
    return {"title": sweep.title, "places": list(found), "means": means}


#: Camera shake (px) and amplitude of a pan (share of the width) at 10 frames a second.
CAMERAS: dict[str, dict[str, float]] = {
    "camera at rest": {},
    "0.5 px of shake": {"camera_shake_px": 0.5},
    "1 px of shake": {"camera_shake_px": 1.0},
    "2 px of shake": {"camera_shake_px": 2.0},
    "pan and zoom of 5% of the width": {"camera_motion": 0.05},
}
#: Standard deviations of the noise on still videos, of 255.
NOISES = (0.25, 0.5, 1.0, 2.0, 4.0)


def measure_departures(clips: int, seed: int) -> dict[str, list[tuple[Any, ...]]]:
    """Score frames as they are read, and by the written definition of the metric alone.

    Returns:
        `cameras`: condition, mean corrected score as we read frames and by the definition;
        `noises`: noise on still videos, and the share of them taken for moving, in both ways.
    """
    cameras: list[tuple[Any, ...]] = []
    for name, settings in CAMERAS.items():
        rows = []
        for clip in map(render_clip, members.dance_specs(clips, seed, **settings)):
            music = torch.from_numpy(clip.beats_s)[None]
            found = (beats_of(signal, clip.fps) for signal in _both_ways(clip.frames, clip.fps))
            rows.append([float(F.align(beats, music, w).corrected) for beats, w in found])
        cameras.append((name, *np.mean(rows, axis=0)))
    noises: list[tuple[Any, ...]] = []
    stills = [render_clip(spec).frames[:1] for spec in members.dance_specs(clips, seed)]
    for level in NOISES:
        random = torch.Generator().manual_seed(seed)
        videos = (add_noise(frame.expand(20, -1, -1, -1), level, random) for frame in stills)
        moving = [[bool(signal.moving) for signal in _both_ways(video, 10)] for video in videos]
        noises.append((level, *np.mean(moving, axis=0)))
    return {"cameras": cameras, "noises": noises}


def _both_ways(frames: Tensor, fps: float) -> Iterator[F.MotionSignal]:
    """Yield the motion as frames are read, and as the definition alone reads them."""
    yield F.motion_from_video(frames[None], fps, steady_camera=True, edge=EDGE)
    yield F.motion_from_video(frames[None], fps, steady_camera=False, edge=0)
