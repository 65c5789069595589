"""Beats and sound features of music; the only file that uses librosa.

Beats are tracked once on a whole piece (44.1 kHz, hop 441, tempo prior where the tempo is known)
and sliced afterwards: octave errors are common on clips of a few seconds. librosa compiles code
when it is first used in a process (seconds), so nothing here may run in a data loader's worker;
`spectral_features`, `beat_features` and `onset_envelope` do not need it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from datamodules.media.beats import beat_features, read_beat_file
from datamodules.media.spectrum import (
    ENVELOPE_RATE_HZ,
    HOP,
    SAMPLE_RATE,
    SPECTRAL_FEATURES,
    onset_envelope,
    spectral_features,
)

__all__ = [
    "ENVELOPE_RATE_HZ",
    "HOP",
    "SAMPLE_RATE",
    "SPECTRAL_FEATURES",
    "BeatTrack",
    "beat_features",
    "detect_onsets",
    "onset_envelope",
    "read_beat_file",
    "spectral_features",
    "track_beats",
    "track_envelope",
    "warm_up",
]

_DEFAULT_BPM = 120.0
# Spread of the tempo prior: librosa's own for a guess; where the tempo is known, too little for
# the errors of 3:2 and 2:1 that syncopated music provokes.
_GUESSED_OCTAVES = 1.0
_KNOWN_OCTAVES = 0.1
_TEMPO_WINDOW_S = 8.0  # librosa's own, over which beats are compared with themselves
_SECTION = 3000  # columns of the tempogram that are computed at once
_SHORTEST_S = 0.3  # no two beats fit into less


@dataclass(frozen=True)
class BeatTrack:
    """The beats of a sound track."""

    beats_s: NDArray[np.float64]
    """(N,) ascending seconds from the start of the track; empty for silence."""
    tempo_bpm: float
    """Beats per minute; 0 where there are no beats."""
    onset_envelope: NDArray[np.float32]
    """(M,) non-negative onset strength of the whole track."""
    envelope_rate_hz: float
    """Samples of `onset_envelope` a second."""


def track_beats(
    audio: NDArray[np.floating],
    sample_rate: int,
    start_bpm: float | None = None,
    beat_file: Path | None = None,
) -> BeatTrack:
    """Track the beats of a whole piece of music.

    Args:
        audio: (S,) mono samples.
        sample_rate: Hertz.
        start_bpm: The tempo where it is known (an AIST name states it); a prior, not a constraint.
        beat_file: The user's own beats, which win over tracking; see `read_beat_file`.

    Returns:
        The track; silence and sounds too short for two beats have no beats and tempo 0.

    Raises:
        ValueError: The sound is not mono or not finite.
        DataError: The beat file is unreadable.
    """
    envelope = onset_envelope(audio, sample_rate)
    if beat_file is not None:
        beats = read_beat_file(beat_file)
        return BeatTrack(beats, _tempo(beats, start_bpm or 0.0), envelope, ENVELOPE_RATE_HZ)
    return track_envelope(envelope, start_bpm)


def track_envelope(envelope: NDArray[np.floating], start_bpm: float | None = None) -> BeatTrack:
    """`track_beats` for an onset envelope (M,) at `ENVELOPE_RATE_HZ` that is computed already."""
    strength = np.ascontiguousarray(envelope, dtype=np.float32)
    nothing = BeatTrack(np.zeros(0), 0.0, strength, ENVELOPE_RATE_HZ)
    if len(strength) < _SHORTEST_S * ENVELOPE_RATE_HZ or not np.any(strength > 1e-6):
        return nothing
    librosa = _load_librosa()
    tempo = librosa.feature.tempo(
        tg=_mean_tempogram(strength, librosa),
        sr=SAMPLE_RATE,
        hop_length=HOP,
        start_bpm=start_bpm or _DEFAULT_BPM,
        std_bpm=_GUESSED_OCTAVES if start_bpm is None else _KNOWN_OCTAVES,
    )
    estimate = float(np.asarray(tempo).reshape(-1)[0])
    if estimate <= 0.0:
        return nothing
    period = 60.0 * ENVELOPE_RATE_HZ / estimate
    # The tracker ends on the envelope's last column, bending the beats before it; with silence
    # behind, that end is one that is cut off again.
    _, columns = librosa.beat.beat_track(
        onset_envelope=np.pad(strength, (0, round(2 * period))),
        sr=SAMPLE_RATE,
        hop_length=HOP,
        bpm=estimate,
        units="frames",
        trim=False,  # quiet music keeps its beat; `_with_ends` drops those in silence
    )
    columns = np.asarray(columns)[np.asarray(columns) < len(strength)]
    if len(columns) == 0:
        return nothing
    beats = _with_ends(columns, strength, period)
    if not len(beats):
        return nothing
    beats_s = beats / ENVELOPE_RATE_HZ
    return BeatTrack(beats_s, _tempo(beats_s, estimate), strength, ENVELOPE_RATE_HZ)


def _mean_tempogram(strength: NDArray[np.float32], librosa: ModuleType) -> NDArray[np.float64]:
    """Return the mean over time, (L, 1), of the tempogram that `librosa.feature.tempo` would
    compute of an onset envelope (M,): its memory, 0.23 GB per minute, is bounded by sections."""
    lags = round(_TEMPO_WINDOW_S * ENVELOPE_RATE_HZ)
    around = lags // 2
    padded = np.pad(strength, (around, around), mode="linear_ramp", end_values=(0, 0))
    total = np.zeros((lags, 1))
    for first in range(0, len(strength), _SECTION):
        columns = min(_SECTION, len(strength) - first)
        section = librosa.feature.tempogram(
            onset_envelope=padded[first : first + columns + lags - 1],
            sr=SAMPLE_RATE,
            hop_length=HOP,
            win_length=lags,
            center=False,
        )
        total += section[:, :columns].sum(axis=1, keepdims=True)
    return total / len(strength)


def detect_onsets(audio: NDArray[np.floating], sample_rate: int = 22050) -> NDArray[np.float64]:
    """Onsets of a sound as AV-Align (Yariv et al. 2024) takes them: librosa's own, at 22,050 Hz.

    Args:
        audio: (S,) mono samples.
        sample_rate: Hertz.

    Returns:
        (N,) ascending seconds; none for silence.
    """
    sound = np.ascontiguousarray(audio, dtype=np.float32)
    if len(sound) < _SHORTEST_S * sample_rate or not np.any(sound):
        return np.zeros(0)
    librosa = _load_librosa()
    return np.asarray(
        librosa.onset.onset_detect(y=sound, sr=sample_rate, units="time"), dtype=np.float64
    )


def warm_up() -> None:
    """Load librosa and let it compile, so that the first piece does not wait for it."""
    click = np.zeros(300, dtype=np.float32)
    click[::50] = 1.0
    track_envelope(click)


def _load_librosa() -> ModuleType:
    """Import librosa, with numba restricted to the processor's baseline instructions.

    numba compiles librosa's beat tracker for the processor it finds. Code that LLVM generates for
    some of them (znver5 with llvmlite 0.50) ends the process with a segmentation fault, which
    baseline instructions avoid. The user's own NUMBA_CPU_NAME takes precedence; a librosa that was
    imported before keeps its own.
    """
    if "NUMBA_CPU_NAME" not in os.environ:
        os.environ.update(NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")
    import librosa

    return librosa


def _with_ends(
    columns: NDArray[np.integer], envelope: NDArray[np.float32], period: float
) -> NDArray[np.float64]:
    """Correct the first and last beats. The tracker's dynamic programming drops the last click of
    a short train or bends it to a place without sound: an end beat off the period that no onset
    answers goes, and steps of one period are added while an onset answers them."""
    if len(columns) > 4:
        period = float(np.median(np.diff(columns)))
    peaks = np.asarray([envelope[max(0, c - 2) : c + 3].max() for c in columns])
    if not peaks.any():
        return np.zeros(0)
    enough = 0.5 * float(np.median(peaks[peaks > 0.0]))
    half = max(2, round(period / 2))
    near = np.asarray([envelope[max(0, c - half) : c + half + 1].max() for c in columns])
    audible = np.flatnonzero(near >= 0.04 * enough)
    kept = np.asarray(columns, dtype=np.float64)[audible[0] : audible[-1] + 1]
    peaks = peaks[audible[0] : audible[-1] + 1]
    for _ in range(2):
        while len(kept) > 2 and peaks[-1] < enough:
            if abs(kept[-1] - kept[-2] - period) <= 0.12 * period:
                break
            kept, peaks = kept[:-1], peaks[:-1]
        kept, peaks = -kept[::-1], peaks[::-1]
    before = _answered(kept[0], -period, envelope, enough)[::-1]
    return np.concatenate([before, kept, _answered(kept[-1], period, envelope, enough)])


def _answered(
    end: float, step: float, envelope: NDArray[np.float32], enough: float
) -> NDArray[np.float64]:
    """Columns of the onsets found step by step from `end` on, outwards."""
    reach = max(1, round(0.1 * abs(step)))
    found: list[float] = []
    while True:
        center = round((found[-1] if found else end) + step)
        low, high = max(0, center - reach), min(len(envelope), center + reach + 1)
        if high <= low:
            return np.asarray(found)
        peak = low + int(np.argmax(envelope[low:high]))
        if envelope[peak] < enough or envelope[peak] <= 0.0:
            return np.asarray(found)
        found.append(float(peak))


def _tempo(beats_s: NDArray[np.float64], otherwise: float) -> float:
    """Beats per minute from the mean of the intervals within a fifth of their median."""
    if len(beats_s) < 3:
        return otherwise
    intervals = np.diff(beats_s)
    median = float(np.median(intervals))
    regular = intervals[np.abs(intervals - median) <= 0.2 * median]
    return 60.0 / float(regular.mean())
