"""The conditions of the metric study: what is varied, and the scores of every member."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.media.video import read_frames, write_video
from datamodules.synthetic.music import PATTERNS
from experiments.studies.metric.members import (
    FrameChange,
    Performance,
    Scores,
    SpecChange,
    changed,
    dance_specs,
    doubled,
    member_scores,
    others,
    perform,
    simulate,
    stretch,
)
from metrics import functional as F

Conditions = Iterator[tuple[str, Scores]]


class Dances:
    """One set of dances, rendered under any condition.

    Args:
        clips: Dances in each condition.
        seed: Seed of the first dance.
    """

    def __init__(self, clips: int, seed: int) -> None:
        self.clips = clips
        self.seed = seed
        self.base = self.perform()

    def perform(
        self,
        spec_change: SpecChange | None = None,
        frame_change: FrameChange | None = None,
        track: bool = False,
    ) -> list[Performance]:
        """Render all dances with changed settings or frames."""
        specs = dance_specs(self.clips, self.seed, spec_change)
        return [perform(spec, frame_change, track) for spec in specs]

    def random(self) -> torch.Generator:
        """Return a new source of noise."""
        return torch.Generator().manual_seed(self.seed)


@dataclass(frozen=True)
class Sweep:
    """One thing that is varied."""

    title: str
    unit: str
    """Unit of the values; empty where conditions have names."""
    conditions: Callable[[Dances], Conditions]
    """Gives the name and the scores of each condition."""


def rendered(
    setting: str, values: Sequence[float], beat_offset: float = 0.0
) -> Callable[[Dances], Conditions]:
    """Return the conditions of one setting of the renderer."""

    def conditions(dances: Dances) -> Conditions:
        for value in values:
            change = changed(**{setting: value, "beat_offset": beat_offset})
            yield f"{value:g}", member_scores(dances.perform(change))

    return conditions


def _offset(dances: Dances) -> Conditions:
    for part in np.linspace(0, 1, 17):
        shift = float(part)
        yield (
            f"{part:g}",
            member_scores(dances.base, lambda one, s=shift: F.shift_beats(one.beats, s)),  # type: ignore[misc]
        )


def _tempo(dances: Dances) -> Conditions:
    for percent in (-20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20):
        beats = partial(stretch, factor=1 + percent / 100)
        yield f"{percent:+d}", member_scores(dances.base, beats)


def _metre(dances: Dances) -> Conditions:
    yield "half", member_scores(dances.base, lambda one: one.beats[:, ::2])
    yield "true", member_scores(dances.base)
    yield "double", member_scores(dances.base, doubled)


def _noise(dances: Dances) -> Conditions:
    for level in (0, 2, 4, 8, 16):
        change = partial(add_noise, level=level, random=dances.random())
        yield f"{level}", member_scores(dances.perform(frame_change=change))


def _compression(dances: Dances) -> Conditions:
    for crf in (18, 28, 36, 44):
        change = partial(compress, crf=crf)
        yield f"{crf}", member_scores(dances.perform(frame_change=change))


def _rhythms(dances: Dances) -> Conditions:
    for pattern in PATTERNS:
        performed = dances.perform(changed(pattern=pattern), track=True)
        yield pattern, member_scores(performed)
        tracked = member_scores(
            performed, lambda one: one.beats if one.tracked is None else one.tracked
        )
        yield f"{pattern}, tracked", tracked


def _genres(dances: Dances) -> Conditions:
    for genre in dict.fromkeys(one.genre for one in dances.base):
        yield genre, member_scores([one for one in dances.base if one.genre == genre])


def _wrong(dances: Dances) -> Conditions:
    random = dances.random()
    yield "on the beat", member_scores(dances.base)
    yield "other clip's music", member_scores(dances.base, others(dances.base))
    shifted = dances.perform(changed(beat_offset=0.5))
    yield "shifted by half a beat", member_scores(shifted)
    for name, level in (("still", 0), ("still, with noise", 4)):
        still = dances.perform(
            frame_change=lambda frames, n=level: add_noise(  # type: ignore[misc]
                frames[:1].expand_as(frames), n, random
            )
        )
        # The key points must not move either.
        yield (
            name,
            member_scores(
                replace(one, keypoints=one.keypoints[:, :1].expand_as(one.keypoints))
                for one in still
            ),
        )


def _hits(dances: Dances) -> Conditions:
    random = np.random.default_rng(dances.seed)
    for share in np.linspace(0, 1, 11):
        yield f"{share:.1f}", simulate(dances.base, float(share), 40, random)


_JITTER = (0, 0.25, 0.5, 1, 2)
_LIMBS = "limbs on the beat (the others shifted by half a beat)"
#: Everything that is varied, in the order of the report.
SWEEPS = {
    "offset": Sweep("offset of the music", "beats", _offset),
    "tempo": Sweep("error of the tempo", "percent", _tempo),
    "metre": Sweep("beats taken at half, true and double time", "", _metre),
    "jitter": Sweep("jitter of the figure, on the beat", "px", rendered("jitter_px", _JITTER)),
    "jitter_off": Sweep(
        "jitter of the figure, shifted by half a beat", "px", rendered("jitter_px", _JITTER, 0.5)
    ),
    "limbs": Sweep(_LIMBS, "share", rendered("limbs_on_beat", (0, 0.25, 0.5, 0.75, 1))),
    "fps": Sweep("frame rate", "frames/s", rendered("fps", (10, 15, 20, 25, 30, 60))),
    "fps_off": Sweep(
        "frame rate, shifted by half a beat", "frames/s", rendered("fps", (10, 20, 30, 60), 0.5)
    ),
    "size": Sweep("resolution", "px", rendered("size", (32, 64, 128, 256))),
    "shake": Sweep("camera shake", "px", rendered("camera_shake_px", (0, 0.5, 1, 2))),
    "pan": Sweep(
        "slow pan and zoom", "share of the width", rendered("camera_motion", (0, 0.02, 0.05, 0.1))
    ),
    "noise": Sweep("noise on the pixels", "of 255, standard deviation", _noise),
    "compression": Sweep("H.264 compression", "constant rate factor", _compression),
    "rhythms": Sweep("rhythms, with true and with tracked beats", "", _rhythms),
    "genres": Sweep("genres", "", _genres),
    "wrong": Sweep("right and wrong performances", "", _wrong),
    "hits": Sweep("share of beats hit, the others anywhere (simulated lists)", "share", _hits),
}


def clips_needed(
    base: Sequence[Performance], shares: Sequence[float], seed: int, power: float = 0.8
) -> dict[str, dict[str, float]]:
    """Estimate how many clips distinguish a dancer who hits a share of the beats from chance.

    From the spread of simulated clips: n = ((z_0.975 + z_power) s / (m - m0))^2 with s the larger
    of the two standard deviations, for a two-sided test at 5% against a known zero effect.

    Args:
        base: Performances whose music is used.
        shares: Shares of beats hit.
        seed: Seed of the simulation.
        power: Probability of detecting the effect.

    Returns:
        {member: {share: clips}}.
    """
    from scipy.stats import norm

    random = np.random.default_rng(seed)
    chance = simulate(base, 0.0, 60, random)
    z = norm.ppf(0.975) + norm.ppf(power)
    needed: dict[str, dict[str, float]] = {name: {} for name in chance}
    for share in shares:
        for name, values in simulate(base, share, 60, random).items():
            effect = values.mean() - chance[name].mean()
            spread = max(values.std(ddof=1), chance[name].std(ddof=1))
            needed[name][f"{share:g}"] = float(np.ceil((z * spread / effect) ** 2))
    return needed


def add_noise(frames: Tensor, level: float, random: torch.Generator) -> Tensor:
    """Return frames (T, 3, H, W) uint8 with Gaussian noise of that standard deviation."""
    if level == 0:
        return frames
    noise = level * torch.randn(frames.shape, generator=random)
    return (frames.float() + noise).round().clamp(0, 255).to(torch.uint8)


def compress(frames: Tensor, crf: int) -> Tensor:
    """Return frames (T, 3, H, W) uint8 after encoding with H.264 and decoding."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, frames, 10, crf=crf)
        return read_frames(path)
