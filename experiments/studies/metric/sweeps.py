"""The conditions of the metric study: what is turned, and what every member says to it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.synthetic.dataset import DanceSpec
from datamodules.synthetic.music import PATTERNS
from experiments.studies.metric.members import (
    Change,
    Performance,
    Scores,
    beat_list_scores,
    changed,
    dance_specs,
    doubled,
    every_second,
    member_scores,
    others,
    perform,
    stretch,
    with_random_beats,
)
from metrics import functional as F
from metrics.functional.bootstrap import Interval, cluster_bootstrap

Report = Callable[[str], None]


@dataclass
class Sweep:
    """One thing turned: its places, and the scores of all clips at each of them."""

    key: str
    title: str
    unit: str
    places: list[str] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    """Numbers for the horizontal axis; 0, 1, 2, ... where places have names only."""
    scores: list[Scores] = field(default_factory=list)

    def add(self, place: str, value: float, scores: Scores) -> None:
        """One more place."""
        self.places.append(place)
        self.values.append(value)
        self.scores.append(scores)

    def means(self, member: str) -> list[float]:
        """Mean over clips at every place."""
        return [float(scores[member].mean()) for scores in self.scores]

    def interval(self, member: str, place: str) -> Interval:
        """Mean over the clips of one place with its 95% interval; every clip has its own seed."""
        return cluster_bootstrap(self.scores[self.places.index(place)][member])

    def members(self) -> list[str]:
        """Members that were scored here: simulated lists have no key points or flow."""
        return list(self.scores[0])


class Sweeps:
    """All sweeps over one set of dances.

    Args:
        clips: dances a condition.
        seed: seed of the first dance.
        say: told what is being done.
    """

    def __init__(self, clips: int, seed: int, say: Report) -> None:
        self.clips = clips
        self.seed = seed
        self.say = say
        self.base = self._performed("base", None)

    def _performed(
        self,
        label: str,
        spec_change: Callable[[DanceSpec], DanceSpec] | None,
        frame_change: Change | None = None,
        track: bool = False,
    ) -> list[Performance]:
        self.say(label)
        specs = dance_specs(self.clips, self.seed, spec_change)
        return [perform(spec, frame_change, track) for spec in specs]

    def run(self) -> list[Sweep]:
        """Every sweep, in the order of the report."""
        return [
            self.offset(),
            self.tempo(),
            self.metre(),
            self.rendered("jitter", "jitter of the figure, on the beat", "px", "jitter_px",
                          (0, 0.25, 0.5, 1, 2)),
            self.rendered("jitter_off", "jitter of the figure, half a beat off", "px", "jitter_px",
                          (0, 0.25, 0.5, 1, 2), beat_offset=0.5),
            self.rendered("limbs", "limbs that dance on the beat (the rest half a beat off)",
                          "share", "limbs_on_beat", (0, 0.25, 0.5, 0.75, 1)),
            self.rendered("fps", "frame rate", "frames/s", "fps", (10, 15, 20, 25, 30, 60)),
            self.rendered("fps_off", "frame rate, half a beat off", "frames/s", "fps",
                          (10, 20, 30, 60), beat_offset=0.5),
            self.rendered("size", "resolution", "px", "size", (32, 64, 128, 256)),
            self.rendered("shake", "camera shake", "px", "camera_shake_px", (0, 0.5, 1, 2)),
            self.rendered("pan", "slow pan and zoom", "share of the width", "camera_motion",
                          (0, 0.02, 0.05, 0.1)),
            self.noise(),
            self.compression(),
            self.rhythms(),
            self.genres(),
            self.wrong(),
            self.hits(),
        ]  # fmt: skip

    def offset(self) -> Sweep:
        """The music moved by parts of a beat."""
        sweep = Sweep("offset", "offset of the music", "beats")
        for part in np.linspace(0, 1, 17):
            sweep.add(
                f"{part:g}",
                float(part),
                member_scores(self.base, partial(shifted, part=float(part))),
            )
        return sweep

    def tempo(self) -> Sweep:
        """The music at a wrong tempo, in time at the middle of the clip."""
        sweep = Sweep("tempo", "error of the tempo", "percent")
        for percent in (-20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20):
            scores = member_scores(self.base, partial(stretch, factor=1 + percent / 100))
            sweep.add(f"{percent:+d}", percent, scores)
        return sweep

    def metre(self) -> Sweep:
        """Beats tracked at half and at double time."""
        sweep = Sweep("metre", "beats taken at half, true and double time", "")
        for place, (name, change) in enumerate(
            (("half", every_second), ("true", lambda one: one.beats), ("double", doubled))
        ):
            sweep.add(name, place, member_scores(self.base, change))
        return sweep

    def rendered(
        self, key: str, title: str, unit: str, setting: str, values: Sequence[float],
        beat_offset: float = 0.0,
    ) -> Sweep:  # fmt: skip
        """A setting of the renderer turned."""
        sweep = Sweep(key, title, unit)
        for value in values:
            given = int(value) if setting == "size" else value
            change = changed(**{setting: given, "beat_offset": beat_offset})
            performed = self._performed(f"{title}: {value:g} {unit}", change)
            sweep.add(f"{value:g}", float(value), member_scores(performed))
        return sweep

    def noise(self) -> Sweep:
        """Gaussian noise on every pixel."""
        sweep = Sweep("noise", "noise on the pixels", "of 255, standard deviation")
        for level in (0, 2, 4, 8, 16):
            random = torch.Generator().manual_seed(self.seed)
            performed = self._performed(
                f"noise: {level}", None, partial(add_noise, level=level, random=random)
            )
            sweep.add(f"{level}", level, member_scores(performed))
        return sweep

    def compression(self) -> Sweep:
        """H.264 at falling quality."""
        sweep = Sweep("compression", "H.264 compression", "constant rate factor")
        for crf in (18, 28, 36, 44):
            performed = self._performed(f"compression: {crf}", None, partial(compress, crf=crf))
            sweep.add(f"{crf}", crf, member_scores(performed))
        return sweep

    def rhythms(self) -> Sweep:
        """Rhythms beyond AIST++, with the true beats and with tracked ones."""
        sweep = Sweep("rhythms", "rhythms, with true and with tracked beats", "")
        for pattern in PATTERNS:
            performed = self._performed(f"rhythm: {pattern}", changed(pattern=pattern), track=True)
            sweep.add(pattern, len(sweep.values), member_scores(performed))
            tracked = member_scores(
                performed, lambda one: one.beats if one.tracked is None else one.tracked
            )
            sweep.add(f"{pattern}, tracked", len(sweep.values), tracked)
        return sweep

    def genres(self) -> Sweep:
        """AIST++'s ten genres, which differ in their moves and in how long they stand still."""
        sweep = Sweep("genres", "genres", "")
        for genre in dict.fromkeys(one.genre for one in self.base):
            chosen = [one for one in self.base if one.genre == genre]
            sweep.add(genre, len(sweep.values), member_scores(chosen))
        return sweep

    def wrong(self) -> Sweep:
        """What must score nothing: other music, the off-beat, no motion at all."""
        sweep = Sweep("wrong", "right and wrong performances", "")
        still = self._performed("still", None, lambda frames: frames[:1].expand_as(frames))
        still = [hold(one) for one in still]
        random = torch.Generator().manual_seed(self.seed)
        noisy = self._performed(
            "still with noise",
            None,
            lambda frames: add_noise(frames[:1].expand_as(frames), 4, random),
        )
        noisy = [hold(one) for one in noisy]
        off = self._performed("off the beat", changed(beat_offset=0.5))
        for name, performed, beats in (
            ("on the beat", self.base, None),
            ("other clip's music", self.base, others(self.base)),
            ("half a beat off", off, None),
            ("still", still, None),
            ("still, with noise", noisy, None),
        ):
            sweep.add(name, len(sweep.values), member_scores(performed, beats))
        return sweep

    def hits(self) -> Sweep:
        """Simulated lists of beats of which a share hits the music."""
        sweep = Sweep("hits", "share of beats hit, the rest anywhere (simulated lists)", "share")
        random = np.random.default_rng(self.seed)
        for share in np.linspace(0, 1, 11):
            rows = simulate(self.base, float(share), 40, random)
            sweep.add(f"{share:.1f}", float(share), rows)
        return sweep


def simulate(
    base: Sequence[Performance], share: float, repeats: int, random: np.random.Generator
) -> Scores:
    """Scores of `repeats` simulated lists of motion beats for every performance."""
    parts = [beat_list_scores(with_random_beats(one, share, repeats, random), one) for one in base]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def clips_needed(
    base: Sequence[Performance], shares: Sequence[float], seed: int, power: float = 0.8
) -> dict[str, dict[str, float]]:
    """How many clips tell a dancer who hits a share of the beats from one who hits none.

    From the spread of simulated clips: n = ((z_0.975 + z_power) s / (m - m0))^2 with s the larger
    of the two standard deviations, for a two-sided test at 5% against a known zero effect.

    Args:
        base: performances whose music is taken.
        shares: shares of beats hit.
        seed: seed of the simulation.
        power: wanted probability to find the effect.

    Returns:
        {member: {share: clips}}.
    """
    from scipy.stats import norm

    random = np.random.default_rng(seed)
    nothing = simulate(base, 0.0, 60, random)
    z = norm.ppf(0.975) + norm.ppf(power)
    needed: dict[str, dict[str, float]] = {name: {} for name in nothing}
    for share in shares:
        found = simulate(base, share, 60, random)
        for name, values in found.items():
            effect = values.mean() - nothing[name].mean()
            spread = max(values.std(ddof=1), nothing[name].std(ddof=1))
            needed[name][f"{share:g}"] = float(np.ceil((z * spread / effect) ** 2))
    return needed


def shifted(one: Performance, part: float) -> Tensor:
    """(1, N + 1): the music moved by a part of a beat."""
    return F.shift_beats(one.beats, part)


def hold(one: Performance) -> Performance:
    """The same with key points that stay where they are in the first frame."""
    return replace(one, keypoints=one.keypoints[:, :1].expand_as(one.keypoints))


def add_noise(frames: Tensor, level: float, random: torch.Generator) -> Tensor:
    """Frames (T, 3, H, W) uint8 with Gaussian noise of that standard deviation."""
    if level == 0:
        return frames
    noise = level * torch.randn(frames.shape, generator=random)
    return (frames.float() + noise).round().clamp(0, 255).to(torch.uint8)


def compress(frames: Tensor, crf: int) -> Tensor:
    """Frames (T, 3, H, W) uint8 after H.264 and back."""
    from datamodules.media.video import read_frames, write_video

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, frames, 10, crf=crf)
        return read_frames(path)
