"""Rendered dances, and every member of the alignment family computed on the same dance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.aist_names import tempo_of
from datamodules.media.audio import track_beats
from datamodules.synthetic.dataset import DanceSpec, render_clip
from metrics import functional as F
from metrics.motion_source import beats_of

#: Titles of the members by key. Those from key points cannot be computed for a plain video.
MEMBERS = {
    "corrected": "2D-MM Align, corrected",
    "raw": "its raw BAS",
    "music_to_motion": "corrected, music to motion",
    "corrected_keypoints": "corrected, from key points",
    "f1": "F1",
    "f1_corrected": "F1, corrected",
    "phase_cosine": "phase cosine",
    "mint": "BAS of AIST++ (mint)",
    "bailando": "BAS of Bailando",
    "mace": "BAS of MACE-Dance",
    "av_align": "AV-Align",
}
GENRES = ("BR", "PO", "LO", "MH", "LH", "HO", "WA", "KR", "JS", "JB")

FrameChange = Callable[[Tensor], Tensor]
SpecChange = Callable[[DanceSpec], DanceSpec]
Scores = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Performance:
    """One rendered dance, reduced to what the members need."""

    name: str
    music_id: str
    genre: str
    fps: float
    signal: F.MotionSignal
    """Motion of one clip, from its frames."""
    magnitude: Tensor
    """(1, T) magnitudes of the flow as AV-Align defines them."""
    keypoints: Tensor
    """(1, T, 17, 2) pixels."""
    beats: Tensor
    """(1, N) true music beats in seconds."""
    tracked: Tensor | None = None
    """(1, N) beats tracked in the sound, if requested."""

    @property
    def window(self) -> Tensor:
        """(1, 2) seconds in which beats count."""
        return F.observable_window(self.signal.frames, self.fps)


Beats = Callable[[Performance], Tensor]


def dance_specs(clips: int, seed: int, change: SpecChange | None = None) -> list[DanceSpec]:
    """Return dances of all ten genres in turn, with different people, music and choreographies.

    Args:
        clips: Number of dances.
        seed: Seed of the first dance; each next one has the next number.
        change: Applied to each specification.
    """
    specs = []
    for place in range(clips):
        genre = GENRES[place % 10]
        name = f"g{genre}_sBM_c01_d{1 + place % 89:02d}_m{genre}{place % 6}_ch{1 + place % 10:02d}"
        spec = DanceSpec(name=name, seed=seed + place, size=128)
        specs.append(spec if change is None else change(spec))
    return specs


def changed(**values: object) -> SpecChange:
    """Return a condition: the same dance with other settings."""
    return lambda spec: replace(spec, **values)  # type: ignore[arg-type]


def perform(spec: DanceSpec, change: FrameChange | None = None, track: bool = False) -> Performance:
    """Render a dance and extract its motion.

    Args:
        spec: The dance.
        change: Applied to its frames (T, 3, H, W) uint8.
        track: Track the beats in its sound, too.
    """
    clip = render_clip(spec)
    frames = (clip.frames if change is None else change(clip.frames))[None]
    music = spec.parsed.music
    tracked = None
    if track:
        prior = tempo_of(music) if music else None
        found = track_beats(clip.audio, clip.sample_rate, start_bpm=prior)
        tracked = torch.from_numpy(found.beats_s)[None]
    signal, magnitude = F.motion_and_magnitude(frames, spec.fps)
    return Performance(
        name=spec.name,
        music_id=music or spec.name,
        genre=spec.parsed.genre or "",
        fps=spec.fps,
        signal=signal,
        magnitude=magnitude,
        keypoints=torch.from_numpy(clip.keypoints[None, :, :, :2]),
        beats=torch.from_numpy(clip.beats_s)[None],
        tracked=tracked,
    )


def member_scores(
    performances: Iterable[Performance], beats: Beats = lambda one: one.beats
) -> Scores:
    """Return every member for every performance, as arrays (clips,).

    Args:
        performances: Clips, of any frame rate.
        beats: Returns the music beats (1, N) to score with; by default the true ones.
    """
    rows = [_scores_of(one, beats(one)) for one in performances]
    return {name: np.array([row[name] for row in rows]) for name in MEMBERS}


def _scores_of(one: Performance, music: Tensor) -> dict[str, float]:
    motion, window = beats_of(one.signal, one.fps)
    music = music.to(motion)
    inside = F.keep_inside(music, window)
    scores = F.align(motion, music, window)
    joints = F.motion_from_keypoints(one.keypoints, one.fps, one.signal.size)
    joint_beats, _ = beats_of(joints, one.fps)
    found = {
        "corrected": scores.corrected,
        "raw": scores.raw,
        "music_to_motion": F.align(motion, music, window, direction="music_to_motion").corrected,
        "corrected_keypoints": F.align(joint_beats, music, window).corrected,
        "f1": F.beat_f1(motion, inside),
        "f1_corrected": F.beat_f1_corrected(motion, music, window),
        "phase_cosine": F.phase_cosine(motion, inside),
        "av_align": F.av_align(inside, F.local_peaks(one.magnitude, one.fps), one.fps),
    }
    for preset in ("mint", "bailando", "mace"):
        beats = F.preset_motion_beats(one.keypoints, one.fps, preset)
        found[preset] = F.preset_alignment(beats, inside.to(beats), preset, one.fps)
    return {name: float(value) for name, value in found.items()}


def simulate(
    performances: Sequence[Performance], share: float, repeats: int, random: np.random.Generator
) -> Scores:
    """Return scores of simulated motion beats of which a share hits the music.

    Args:
        performances: Performances whose music is used.
        share: Share of the beats that hit a music beat; the others fall anywhere.
        repeats: Lists of beats for each performance.
        random: Source of the draws.

    Returns:
        The members that depend on nothing but beats, as arrays (performances x repeats,).
    """
    rows: list[dict[str, Tensor]] = []
    for one in performances:
        motion = with_random_beats(one, share, repeats, random)
        music = one.beats.expand(len(motion), -1)
        window = one.window.expand(len(motion), 2)
        backward = F.align(motion, music, window, direction="music_to_motion")
        rows.append(
            {
                "corrected": F.align(motion, music, window).corrected,
                "music_to_motion": backward.corrected,
                "f1_corrected": F.beat_f1_corrected(motion, music, window),
                "phase_cosine": F.phase_cosine(motion, F.keep_inside(music, window)),
            }
        )
    return {name: torch.cat([row[name] for row in rows]).numpy() for name in rows[0]}


def with_random_beats(
    one: Performance, share_hit: float, lists: int, random: np.random.Generator
) -> Tensor:
    """Return (lists, M) motion beats of which a share hits the music.

    There are as many as music beats in the window. Hits deviate by 15 ms (standard deviation),
    which is what is found from the flow of clips at 10 frames a second.
    """
    inside = F.keep_inside(one.beats, one.window)
    true = inside[~inside.isnan()].numpy()
    start, end = one.window[0].tolist()
    shape = (lists, len(true))
    hit = random.random(shape) < share_hit
    times = np.where(
        hit, true + 0.015 * random.normal(size=shape), random.uniform(start, end, shape)
    )
    return torch.from_numpy(np.sort(times))


def stretch(one: Performance, factor: float) -> Tensor:
    """Return (1, N) beats at another tempo, still in time at the middle of the clip."""
    middle = one.window.mean()
    return middle + (one.beats - middle) / factor


def doubled(one: Performance) -> Tensor:
    """Return (1, 2 N) beats at double time."""
    return torch.cat([one.beats, F.shift_beats(one.beats, 0.5)], -1).sort(-1).values


def others(performances: Sequence[Performance]) -> Beats:
    """Return a function that gives the beats of the next performance to other music."""
    names = [one.name for one in performances]

    def next_other(one: Performance) -> Tensor:
        start = names.index(one.name)
        for step in range(1, len(performances)):
            other = performances[(start + step) % len(performances)]
            if other.music_id != one.music_id:
                return other.beats
        return one.beats

    return next_other
