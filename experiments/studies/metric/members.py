"""The members of the alignment family, all computed on the same performance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.synthetic.dataset import DanceSpec, render_clip
from metrics import functional as F
from metrics.motion_source import beats_of

#: Members by key: title, and whether key points (which a video does not come with) are needed.
MEMBERS: dict[str, tuple[str, bool]] = {
    "corrected": ("2D-MM Align, corrected", False),
    "raw": ("its raw BAS", False),
    "music_to_motion": ("corrected, music to motion", False),
    "corrected_keypoints": ("corrected, from key points", True),
    "f1": ("F1", False),
    "f1_corrected": ("F1, corrected", False),
    "phase_cosine": ("phase cosine", False),
    "mint": ("BAS of AIST++ (mint)", True),
    "bailando": ("BAS of Bailando", True),
    "mace": ("BAS of MACE-Dance", True),
    "av_align": ("AV-Align", False),
}

GENRES = ("BR", "PO", "LO", "MH", "LH", "HO", "WA", "KR", "JS", "JB")

Change = Callable[[Tensor], Tensor]
Scores = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Performance:
    """One rendered dance, reduced to what the members look at."""

    name: str
    music_id: str
    genre: str
    fps: float
    signal: F.MotionSignal
    """Motion of one clip, from its frames."""
    magnitude: Tensor
    """(1, T) flow magnitudes as AV-Align takes them."""
    keypoints: Tensor
    """(1, T, 17, 2) pixels."""
    beats: Tensor
    """(1, N) true music beats in seconds."""
    tracked: Tensor | None = None
    """(1, N) beats tracked in the sound, where that was asked for."""

    @property
    def window(self) -> Tensor:
        """(1, 2) seconds in which beats count."""
        return F.observable_window(self.signal.frames, self.fps)


def dance_specs(
    clips: int, seed: int, change: Callable[[DanceSpec], DanceSpec] | None = None
) -> list[DanceSpec]:
    """Clips of all ten genres in turn, with different persons, music and choreographies.

    Args:
        clips: how many.
        seed: seed of the first; the others count on.
        change: what is different in this condition.
    """
    specs = []
    for place in range(clips):
        genre = GENRES[place % 10]
        name = f"g{genre}_sBM_c01_d{1 + place % 89:02d}_m{genre}{place % 6}_ch{1 + place % 10:02d}"
        spec = DanceSpec(name=name, seed=seed + place, size=128)
        specs.append(spec if change is None else change(spec))
    return specs


def perform(spec: DanceSpec, change: Change | None = None, track: bool = False) -> Performance:
    """Render a dance and look at it.

    Args:
        spec: the dance.
        change: what is done to its frames (T, 3, H, W) uint8 before they are looked at.
        track: also track the beats in its sound.
    """
    clip = render_clip(spec)
    frames = (clip.frames if change is None else change(clip.frames))[None]
    tracked = None
    if track:
        from datamodules.aist_names import tempo_of
        from datamodules.media.audio import track_beats

        prior = tempo_of(spec.parsed.music or "") if spec.parsed.music else None
        found = track_beats(clip.audio, clip.sample_rate, start_bpm=prior)
        tracked = torch.from_numpy(found.beats_s)[None]
    signal, magnitude = F.motion_and_magnitude(frames, spec.fps)
    return Performance(
        name=spec.name,
        music_id=spec.parsed.music or spec.name,
        genre=spec.parsed.genre or "",
        fps=spec.fps,
        signal=signal,
        magnitude=magnitude,
        keypoints=torch.from_numpy(clip.keypoints[None, :, :, :2]),
        beats=torch.from_numpy(clip.beats_s)[None],
        tracked=tracked,
    )


def member_scores(
    performances: Iterable[Performance], beats: Callable[[Performance], Tensor] | None = None
) -> Scores:
    """Every member for every performance: arrays (clips,).

    Args:
        performances: clips, of any frame rate.
        beats: the music beats (1, N) to score with; the true ones by default.
    """
    rows = [_scores_of(one, one.beats if beats is None else beats(one)) for one in performances]
    return {name: np.array([row[name] for row in rows]) for name in MEMBERS}


def _scores_of(one: Performance, music: Tensor) -> dict[str, float]:
    motion, window = beats_of(one.signal, one.fps)
    music = music.to(motion)
    inside = F.keep_inside(music, window)
    scores = F.align(motion, music, window)
    size = one.signal.size
    joints = F.motion_from_keypoints(one.keypoints, one.fps, size)
    by_joints, _ = beats_of(joints, one.fps)
    found = {
        "corrected": scores.corrected,
        "raw": scores.raw,
        "music_to_motion": F.align(motion, music, window, direction="music_to_motion").corrected,
        "corrected_keypoints": F.align(by_joints, music, window).corrected,
        "f1": F.beat_f1(motion, inside),
        "f1_corrected": F.beat_f1_corrected(motion, music, window),
        "phase_cosine": F.phase_cosine(motion, inside),
        "av_align": F.av_align(inside, F.local_peaks(one.magnitude, one.fps), one.fps),
    }
    for preset in ("mint", "bailando", "mace"):
        seen = F.preset_motion_beats(one.keypoints, one.fps, preset)
        found[preset] = F.preset_alignment(seen, inside.to(seen), preset, one.fps)
    return {name: float(value) for name, value in found.items()}


def with_random_beats(
    one: Performance, share_hit: float, lists: int, random: np.random.Generator
) -> Tensor:
    """(lists, M) motion beats of which a share hits the music and the rest falls anywhere.

    As many as there are music beats in the window; hits are 15 ms off (standard deviation), which
    is what the flow of clips at 10 frames a second finds.
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


def beat_list_scores(motion: Tensor, one: Performance) -> Scores:
    """The members that look at nothing but lists of beats, for simulated lists (lists, M)."""
    music = one.beats.expand(len(motion), -1)
    window = one.window.expand(len(motion), 2)
    inside = F.keep_inside(music, window)
    found = {
        "corrected": F.align(motion, music, window).corrected,
        "music_to_motion": F.align(motion, music, window, direction="music_to_motion").corrected,
        "f1_corrected": F.beat_f1_corrected(motion, music, window),
        "phase_cosine": F.phase_cosine(motion, inside),
    }
    return {name: value.numpy() for name, value in found.items()}


def changed(**values: object) -> Callable[[DanceSpec], DanceSpec]:
    """A condition: the same dance with other settings."""
    return lambda spec: replace(spec, **values)  # type: ignore[arg-type]


def stretch(one: Performance, factor: float) -> Tensor:
    """(1, N): the music at another tempo, still in time in the middle of the clip."""
    middle = one.window.mean()
    return middle + (one.beats - middle) / factor


def every_second(one: Performance) -> Tensor:
    """(1, N / 2): the music beats at half time."""
    return one.beats[:, ::2]


def doubled(one: Performance) -> Tensor:
    """(1, 2 N): the music beats at double time."""
    return torch.cat([one.beats, F.shift_beats(one.beats, 0.5)], -1).sort(-1).values


def others(performances: Sequence[Performance]) -> Callable[[Performance], Tensor]:
    """The beats of the next performance to other music."""
    names = [one.name for one in performances]

    def next_other(one: Performance) -> Tensor:
        start = names.index(one.name)
        for step in range(1, len(performances)):
            other = performances[(start + step) % len(performances)]
            if other.music_id != one.music_id:
                return other.beats
        return one.beats

    return next_other
