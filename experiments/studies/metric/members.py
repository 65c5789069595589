"""Rendered dances, and every member of the alignment family computed on the same dance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from torch import Tensor

from datamodules import aist_names
from datamodules.media.audio import track_beats
from datamodules.synthetic.dataset import DanceSpec, RenderedClip, render_clip
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
#: Members that are also computed for simulated beats.
SIMULATED = ("corrected", "music_to_motion", "f1_corrected", "phase_cosine")
GENRES = tuple(aist_names.GENRES)

ClipChange = Callable[[RenderedClip, torch.Generator], RenderedClip]
Scores = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Performance:
    """One rendered dance, reduced to what the members need. Beats are (1, N) seconds."""

    music_id: str
    genre: str
    fps: float
    window: Tensor
    """(1, 2) seconds in which beats count."""
    beats: Tensor
    """True music beats."""
    motion: dict[str, Tensor]
    """Motion beats by where they are from: `frames`, `keypoints`, `av_align` or a preset."""
    audio: NDArray[np.float32]
    sample_rate: int


Beats = Callable[[Performance], Tensor]
true_beats: Beats = attrgetter("beats")


def dance_specs(clips: int, seed: int, **settings: Any) -> list[DanceSpec]:
    """Return dances of all genres in turn, with different people, music and choreographies.

    The seeds count from `seed`; `settings` are other fields of every dance (128 pixels by default).
    """
    options = {"size": 128, **settings}
    specs = []
    for k in range(clips):
        genre = GENRES[k % 10]
        name = f"g{genre}_sBM_c01_d{1 + k % 89:02d}_m{genre}{k % 6}_ch{1 + k % 10:02d}"
        specs.append(DanceSpec(name=name, seed=seed + k, **options))
    return specs


def perform(clip: RenderedClip) -> Performance:
    """Extract the motion of a rendered clip."""
    name = aist_names.parse(clip.name)
    signal, magnitude = F.motion_and_magnitude(clip.frames[None], clip.fps)
    motion, window = beats_of(signal, clip.fps)
    keypoints = torch.from_numpy(clip.keypoints[None, :, :, :2])
    joints = F.motion_from_keypoints(keypoints, clip.fps, signal.size)
    return Performance(
        music_id=str(name.music),
        genre=str(name.genre),
        fps=clip.fps,
        window=window,
        beats=torch.from_numpy(clip.beats_s)[None],
        motion={
            "frames": motion,
            "keypoints": beats_of(joints, clip.fps)[0],
            "av_align": F.local_peaks(magnitude, clip.fps),
            **{preset: F.preset_motion_beats(keypoints, clip.fps, preset) for preset in F.PRESETS},
        },
        audio=clip.audio,
        sample_rate=clip.sample_rate,
    )


class Dances:
    """The same dances, rendered under any condition."""

    def __init__(self, clips: int, seed: int) -> None:
        self.clips = clips
        self.seed = seed
        self.random = np.random.default_rng(seed)
        # Successive conditions often score the same rendering against other music.
        self.perform = lru_cache(maxsize=4)(self._perform)

    def _perform(self, change: ClipChange | None = None, **settings: Any) -> list[Performance]:
        """Render all dances with other settings, and change their clips."""
        random = torch.Generator().manual_seed(self.seed)
        clips = map(render_clip, dance_specs(self.clips, self.seed, **settings))
        return [perform(change(clip, random) if change else clip) for clip in clips]


def tracked_beats(one: Performance) -> Tensor:
    """Return (1, N) beats tracked in the sound."""
    tempo = aist_names.tempo_of(one.music_id)
    found = track_beats(one.audio, one.sample_rate, start_bpm=tempo)
    return torch.from_numpy(found.beats_s)[None]


def doubled_beats(one: Performance) -> Tensor:
    """Return (1, 2 N) beats at double time."""
    return torch.cat([one.beats, F.shift_beats(one.beats, 0.5)], -1).sort(-1).values


def beats_of_others(performances: Sequence[Performance]) -> Beats:
    """Return a function that gives the beats of the next performance to other music."""

    def next_other(one: Performance) -> Tensor:
        start = performances.index(one)
        following = [*performances[start + 1 :], *performances[:start]]
        return next((p.beats for p in following if p.music_id != one.music_id), one.beats)

    return next_other


def member_scores(performances: Iterable[Performance], beats: Beats = true_beats) -> Scores:
    """Return every member as an array (clips,), with these music beats."""
    rows = []
    for one in performances:
        motion, window = one.motion["frames"], one.window
        music = beats(one).to(motion)
        inside = F.keep_inside(music, window)
        row = _scores_of_beats(motion, music, window)
        row["corrected_keypoints"] = F.align(one.motion["keypoints"], music, window).corrected
        row["av_align"] = F.av_align(inside, one.motion["av_align"], one.fps)
        for preset in F.PRESETS:
            row[preset] = F.preset_alignment(one.motion[preset], inside, preset, one.fps)
        rows.append(row)
    return {name: np.array([float(row[name]) for row in rows]) for name in MEMBERS}


def _scores_of_beats(motion: Tensor, music: Tensor, window: Tensor) -> dict[str, Tensor]:
    """Return the members that depend on beats alone, (B,) each."""
    inside = F.keep_inside(music, window)
    forward = F.align(motion, music, window)
    return {
        "corrected": forward.corrected,
        "raw": forward.raw,
        "music_to_motion": F.align(motion, music, window, direction="music_to_motion").corrected,
        "f1": F.beat_f1(motion, inside),
        "f1_corrected": F.beat_f1_corrected(motion, music, window),
        "phase_cosine": F.phase_cosine(motion, inside),
    }


def random_beats(one: Performance, share: float, lists: int, random: np.random.Generator) -> Tensor:
    """Return (lists, M) motion beats of which a share hits the music, and the others fall anywhere.

    There are as many as music beats in the window. Hits deviate by 15 ms (standard deviation),
    which is what is found from the flow of clips at 10 frames a second.
    """
    inside = F.keep_inside(one.beats, one.window)
    true = inside[~inside.isnan()].numpy()
    hit = random.random((lists, len(true))) < share
    near = true + 0.015 * random.normal(size=hit.shape)
    anywhere = random.uniform(one.window[0, 0], one.window[0, 1], hit.shape)
    return torch.from_numpy(np.sort(np.where(hit, near, anywhere)))


def simulate(
    performances: Sequence[Performance], share: float, lists: int, random: np.random.Generator
) -> Scores:
    """Return the scores (performances x lists,) of `random_beats`."""
    rows = []
    for one in performances:
        motion = random_beats(one, share, lists, random)
        music, window = one.beats.expand(lists, -1), one.window.expand(lists, 2)
        rows.append(_scores_of_beats(motion, music, window))
    return {name: torch.cat([row[name] for row in rows]).numpy() for name in SIMULATED}


def clips_needed(
    base: Sequence[Performance], shares: Sequence[float], seed: int
) -> dict[str, dict[str, float]]:
    """Estimate how many clips distinguish a dancer who hits a share of the beats from chance.

    n = ((z_0.975 + z_0.8) s / (m - m0))^2 for means m, m0 of simulated clips and s the larger of
    their standard deviations: a two-sided test at 5% with 80% power. Returns {member: {share: n}}.
    """
    random = np.random.default_rng(seed)
    chance = simulate(base, 0.0, 60, random)
    z = norm.ppf(0.975) + norm.ppf(0.8)
    needed: dict[str, dict[str, float]] = {name: {} for name in chance}
    for share in shares:
        for name, values in simulate(base, share, 60, random).items():
            effect = values.mean() - chance[name].mean()
            spread = max(values.std(ddof=1), chance[name].std(ddof=1))
            needed[name][f"{share:g}"] = float(np.ceil((z * spread / effect) ** 2))
    return needed
