"""Synthesised dance music with known beats: drums, bass and chords, in ten genres.

The tempo follows AIST's rule, the piece's first beat comes after a short seeded silence, and a
piece is a function of (seed, music id, length, pattern) alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from datamodules.aist_names import tempo_of

SAMPLE_RATE = 44100
Pattern = Literal["even", "swing", "triplet", "three_four", "tempo_change", "syncopation"]
PATTERNS: tuple[str, ...] = get_args(Pattern)

#: At a change of tempo the second half runs this much faster.
_TEMPO_CHANGE = 1.2


@dataclass(frozen=True)
class _Sound:
    """How a genre sounds. Drum rows are one bar of 16 steps; `X` loud, `x` soft."""

    kick: str
    snare: str
    hat: str
    bass: str
    chord: Literal["pad", "keys", "stab"]
    brightness: float
    """Share of the upper harmonics in bass and chords, 0 to 1."""
    minor: bool
    snare_hz: float = 190.0


_SOUNDS = {
    "BR": _Sound(
        "X..x..X...X.....", "....X..x.x..X...", "x.x.x.x.x.x.x.x.",
        "X..x..X.", "stab", 0.6, True,
    ),
    "PO": _Sound(
        "X.....x.X.......", "....X.......X...", "x.xxx.x.x.xxx.x.",
        "X.x.X.xx", "stab", 0.8, True,
    ),
    "LO": _Sound(
        "X..X..x.X..x..x.", "....X..x....X...", "xxx.xxx.xxx.xxx.",
        "X.xX..x.", "keys", 0.7, False,
    ),
    "MH": _Sound(
        "X......xX.x.....", "....X.......X...", "x.x.x.x.x.x.x.xx",
        "X...x.x.", "keys", 0.4, True,
    ),
    "LH": _Sound(
        "X..x....X.x..x..", "....X.......X..x", "x.x.x.x.xxx.x.x.",
        "X..x.x..", "pad", 0.5, True,
    ),
    "HO": _Sound(
        "X...X...X...X...", "....X.......X...", "..X...X...X...X.",
        ".xX..xX.", "stab", 0.6, True, 230.0,
    ),
    "WA": _Sound(
        "X...X...X...X...", "....X.......X...", "x.X.x.X.x.X.x.X.",
        "X.xX.xX.", "pad", 0.7, False, 230.0,
    ),
    "KR": _Sound(
        "X.X...x.X..X....", "....X..X....X...", "x...x...x...x.x.",
        "X.X..X..", "pad", 0.9, True, 160.0,
    ),
    "JS": _Sound(
        "X.....X.x.......", "....X.......X...", "x.x.x.x.x.x.x.x.",
        "X...X..x", "keys", 0.5, False,
    ),
    "JB": _Sound(
        "X.......X.......", "....x.......X...", "x...x...x...x...",
        "X...x...", "pad", 0.2, False,
    ),
}  # fmt: skip

_MAJOR_CHORDS = ((0, 4, 7, 11), (9, 12, 16, 19), (5, 9, 12, 16), (7, 11, 14, 17))
_MINOR_CHORDS = ((0, 3, 7, 10), (8, 12, 15, 19), (5, 8, 12, 15), (7, 10, 14, 17))


@dataclass(frozen=True)
class Music:
    """A piece: its sound and what is true of it."""

    audio: NDArray[np.float32]
    """(S,) mono in [-1, 1] at `SAMPLE_RATE`."""
    beats_s: NDArray[np.float64]
    """(N,) seconds from the start of the sound, ascending."""
    tempo_bpm: float


def rng_of(seed: int, *names: object) -> np.random.Generator:
    """A generator of random numbers for one named thing under a seed."""
    return np.random.default_rng([seed, crc32("/".join(map(str, names)).encode())])


def first_beat_s(seed: int, music: str) -> float:
    """When a piece's first beat falls, 0.05 to 0.45 s."""
    return float(rng_of(seed, "music start", music).uniform(0.05, 0.45))


def beat_times(
    seed: int, music: str, seconds: float, pattern: Pattern = "even", lead: int = 0
) -> NDArray[np.float64]:
    """The beats of a piece in seconds, up to `seconds`.

    Args:
        lead: Beats to count in before the first and after the last, for movements under way.
    """
    interval = 60.0 / tempo_of(music)
    start = first_beat_s(seed, music)
    count = int(np.ceil((seconds - start) / interval * _TEMPO_CHANGE)) + lead + 1
    before, after = start - interval * np.arange(lead, 0, -1), start + interval * np.arange(count)
    if pattern == "tempo_change":
        steady = after[after <= seconds / 2]
        after = np.concatenate(
            [steady, steady[-1] + interval / _TEMPO_CHANGE * np.arange(1, count)]
        )
    inside = int(np.sum(after < seconds))
    return np.concatenate([before, after[: inside + lead]])


@lru_cache(maxsize=4)
def synthesise(seed: int, music: str, seconds: float, pattern: Pattern = "even") -> Music:
    """The sound of a piece.

    Args:
        music: AIST's id, such as `mBR0`; gives genre, tempo and, with the seed, key and offset.
        seconds: Length.
        pattern: `swing` and `triplet` divide the beat in three, `three_four` has three beats a
            bar, `syncopation` moves the drums off the beat, `tempo_change` speeds up half way;
            the beats are the pulse in any case.
    """
    sound = _SOUNDS[music[1:3]]
    rng = rng_of(seed, "music", music)
    beats = beat_times(seed, music, seconds, pattern, lead=2)[2:]
    track = np.zeros(round(seconds * SAMPLE_RATE) + SAMPLE_RATE, dtype=np.float32)
    _drums(track, sound, beats, pattern, rng)
    _harmony(track, sound, beats, 3 if pattern == "three_four" else 4, rng)
    audio = np.tanh(track[: round(seconds * SAMPLE_RATE)] * 0.9)
    return Music(
        audio=(0.9 * audio / max(1e-6, float(np.abs(audio).max()))).astype(np.float32),
        beats_s=beats[beats < seconds],
        tempo_bpm=tempo_of(music),
    )


def _step_times(beats: NDArray[np.float64], pattern: Pattern) -> list[list[float]]:
    """For each beat the times of its four steps."""
    if pattern in ("swing", "triplet"):
        places = (0.0, 1 / 3, 2 / 3, 2 / 3) if pattern == "triplet" else (0.0, 1 / 3, 2 / 3, 0.85)
    else:
        places = (0.0, 0.25, 0.5, 0.75)
    lengths = np.diff(beats, append=2 * beats[-1] - beats[-2])
    return [
        [beat + place * length for place in places]
        for beat, length in zip(beats, lengths, strict=True)
    ]


def _drums(
    track: NDArray[np.float32],
    sound: _Sound,
    beats: NDArray[np.float64],
    pattern: Pattern,
    rng: np.random.Generator,
) -> None:
    hits = {
        "kick": _kick(),
        "snare": _snare(sound.snare_hz, rng),
        "hat": _hat(rng),
    }
    rows = {"kick": sound.kick, "snare": sound.snare, "hat": sound.hat}
    if pattern == "syncopation":
        rows["kick"] = "X.....x...X..x.."
        rows["snare"] = "..x...X.....X.x."
    bar = 3 if pattern == "three_four" else 4
    for number, steps in enumerate(_step_times(beats, pattern)):
        place = number % bar
        for name, row in rows.items():
            for step, time in enumerate(steps):
                mark = row[place * 4 + step]
                if mark != ".":
                    gain = (1.0 if mark == "X" else 0.55) * rng.uniform(0.92, 1.0)
                    _add(track, hits[name], time, gain)
        # Every genre marks the pulse lightly, as a ride cymbal would.
        _add(track, hits["hat"], steps[0], 0.5)


def _harmony(
    track: NDArray[np.float32],
    sound: _Sound,
    beats: NDArray[np.float64],
    bar: int,
    rng: np.random.Generator,
) -> None:
    root = int(rng.integers(0, 12))
    chords = _MINOR_CHORDS if sound.minor else _MAJOR_CHORDS
    order = rng.permutation(4)
    wave = _wavetable(sound.brightness)
    for number in range(0, len(beats), bar):
        ends = beats[number : number + bar + 1]
        if len(ends) < 2:
            break
        chord = chords[order[number // bar % 4]]
        _chord(track, sound, wave, ends, [root + 48 + note for note in chord])
        _bass(track, sound, wave, ends, root + 36 + chord[0] % 12)


def _chord(
    track: NDArray[np.float32],
    sound: _Sound,
    wave: NDArray[np.float32],
    ends: NDArray[np.float64],
    notes: list[int],
) -> None:
    interval = float(ends[1] - ends[0])
    if sound.chord == "pad":
        starts, length, attack = [ends[0]], float(ends[-1] - ends[0]), 0.06
    elif sound.chord == "keys":
        starts, length, attack = [ends[0], ends[0] + interval * 2.5], 1.6 * interval, 0.004
    else:
        starts = [beat + interval / 2 for beat in ends[:-1]]
        length, attack = 0.22, 0.003
    time = np.arange(int(length * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
    fade = np.minimum(1.0, (length - time) / 0.03)
    decay = np.ones_like(time) if sound.chord == "pad" else np.exp(-time / (0.5 * length))
    envelope = np.minimum(1.0, time / attack) * fade * decay
    voices = np.sum([_tone(wave, note, len(time)) for note in notes], axis=0) * envelope
    for start in starts:
        _add(track, voices, start, 0.055)


def _bass(
    track: NDArray[np.float32],
    sound: _Sound,
    wave: NDArray[np.float32],
    ends: NDArray[np.float64],
    note: int,
) -> None:
    interval = float(ends[1] - ends[0])
    length = int(0.42 * interval * SAMPLE_RATE)
    time = np.arange(length, dtype=np.float32) / SAMPLE_RATE
    fade = np.minimum(1.0, (length / SAMPLE_RATE - time) / 0.02)
    envelope = np.minimum(1.0, time / 0.004) * np.exp(-time / 0.25) * fade
    tone = _tone(wave, note, length) * envelope
    for step in range(2 * (len(ends) - 1)):
        mark = sound.bass[step % len(sound.bass)]
        if mark != ".":
            _add(track, tone, ends[0] + step * interval / 2, 0.3 if mark == "X" else 0.2)


def _add(
    track: NDArray[np.float32], sound: NDArray[np.float32], time_s: float, gain: float
) -> None:
    start = round(time_s * SAMPLE_RATE)
    if 0 <= start < len(track):
        length = min(len(sound), len(track) - start)
        track[start : start + length] += np.float32(gain) * sound[:length]


def _wavetable(brightness: float) -> NDArray[np.float32]:
    """One cycle whose harmonics fall off the slower the brighter."""
    phase = np.arange(2048) / 2048 * 2 * np.pi
    cycle = sum(brightness ** (k - 1) / k * np.sin(k * phase) for k in range(1, 7))
    return (cycle / np.abs(cycle).max()).astype(np.float32)


def _tone(wave: NDArray[np.float32], note: int, samples: int) -> NDArray[np.float32]:
    hertz = 440.0 * 2 ** ((note - 69) / 12)
    phase = np.arange(samples) * (hertz / SAMPLE_RATE * len(wave))
    return wave[phase.astype(np.int64) & (len(wave) - 1)]


def _kick() -> NDArray[np.float32]:
    time = np.arange(int(0.28 * SAMPLE_RATE)) / SAMPLE_RATE
    cycles = 45 * time + (130 - 45) * 0.035 * (1 - np.exp(-time / 0.035))
    click = np.exp(-time / 0.002) * 0.5
    return ((np.sin(2 * np.pi * cycles) + click) * np.exp(-time / 0.09)).astype(np.float32)


def _snare(hertz: float, rng: np.random.Generator) -> NDArray[np.float32]:
    time = np.arange(int(0.2 * SAMPLE_RATE)) / SAMPLE_RATE
    noise = rng.standard_normal(len(time)) * np.exp(-time / 0.05) * 0.45
    return (noise + 0.5 * np.sin(2 * np.pi * hertz * time) * np.exp(-time / 0.04)).astype(
        np.float32
    )


def _hat(rng: np.random.Generator) -> NDArray[np.float32]:
    time = np.arange(int(0.09 * SAMPLE_RATE)) / SAMPLE_RATE
    noise = np.diff(rng.standard_normal(len(time) + 2), 2)  # high-pass
    return (0.11 * noise * np.exp(-time / 0.018)).astype(np.float32)
