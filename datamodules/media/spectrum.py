"""Spectra of a sound track without librosa: fast in any process, nothing to compile.

One short-time Fourier transform (44.1 kHz, window 2048, hop 441: 100 columns a second) feeds the
onset envelope that the beat tracker reads and the log-mel and chroma features of each frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import resample_poly

SAMPLE_RATE = 44_100
"""Hertz at which sound is analyzed."""
HOP = 441
"""Samples between columns of the spectrogram."""
ENVELOPE_RATE_HZ = SAMPLE_RATE / HOP
"""Columns of the spectrogram, and samples of the onset envelope, a second."""
WINDOW = 2048
ONSET_BANDS = 128
MEL_BANDS = 32
CHROMA = 12
SPECTRAL_FEATURES = MEL_BANDS + CHROMA
_FLOOR_DB = 80.0
_CHUNK = 2048  # columns transformed at once: bounds the memory that a long song takes

FloatArray = NDArray[np.floating]


def to_analysis_rate(audio: FloatArray, sample_rate: int) -> NDArray[np.float32]:
    """Mono sound (S,) at any rate as float32 at `SAMPLE_RATE`.

    Raises:
        ValueError: `audio` is not one-dimensional or holds NaN or infinity, or the rate is not
            positive.
    """
    sound = np.asarray(audio, dtype=np.float32)
    if sound.ndim != 1:
        raise ValueError(f"Sound must be mono, of shape (S,), but has the shape {sound.shape}.")
    if sample_rate <= 0:
        raise ValueError(f"A sample rate must be positive, but is {sample_rate}.")
    if not np.isfinite(sound).all():
        raise ValueError("The sound holds samples that are not finite numbers.")
    if sample_rate != SAMPLE_RATE and sound.size:
        divisor = np.gcd(sample_rate, SAMPLE_RATE)
        up, down = SAMPLE_RATE // divisor, sample_rate // divisor
        sound = resample_poly(sound, up, down).astype(np.float32)
    return sound


def onset_envelope(audio: FloatArray, sample_rate: int) -> NDArray[np.float32]:
    """Onset strength (M,) at `ENVELOPE_RATE_HZ`, M = 1 + S // 441: the median over 128 mel bands
    of the rise of their level in decibels.

    The definition is that of `librosa.onset.onset_strength(aggregate=numpy.median)`, which a test
    compares it with, but for the end: windows that extend beyond it see the cut as a click in
    every band, which would be the strongest onset of all, so their columns are 0.
    """
    sound = to_analysis_rate(audio, sample_rate)
    (power,) = _projected(sound, [(mel_filters(ONSET_BANDS), False)])
    return _onsets(power, len(sound))


def _onsets(power: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    envelope = _flux(power)
    whole = (samples - WINDOW // 2) // HOP  # the last column whose window is inside
    envelope[max(0, whole + 1 + WINDOW // (2 * HOP)) :] = 0.0
    return envelope


def _flux(power: NDArray[np.float32]) -> NDArray[np.float32]:
    floor = 10.0 * np.log10(np.maximum(power.max(initial=0.0), 1e-10)) - _FLOOR_DB
    rise = np.zeros(max(0, len(power) - 1))
    for first in range(0, len(rise), _CHUNK):
        level = 10.0 * np.log10(np.maximum(power[first : first + _CHUNK + 1], 1e-10))
        level = np.maximum(level, floor.astype(level.dtype))
        rise[first : first + _CHUNK] = np.median(np.maximum(np.diff(level, axis=0), 0.0), axis=1)
    # A rise is seen when the window's far edge meets the onset, half a window early.
    lead = 1 + WINDOW // (2 * HOP)
    envelope = np.concatenate([np.zeros(lead), rise])[: len(power)]
    return envelope.astype(np.float32)


def spectral_features(
    audio: FloatArray, sample_rate: int, frames: int, fps: float, start_s: float = 0.0
) -> NDArray[np.float32]:
    """Log-mel level and chroma of each video frame, (T, 44) float32 in [0, 1].

    Columns 0 to 31 are mel bands in decibels, -80 dB of full scale at 0 and full scale at 1;
    columns 32 to 43 are the pitch classes C to B, divided by the strongest, 0 in silence. Frame k
    averages the spectrogram over the half frame before and after `start_s + k / fps` seconds;
    frames behind the end of the sound are silent.
    """
    sound = to_analysis_rate(audio, sample_rate)
    mel, chroma = _projected(sound, [(mel_filters(MEL_BANDS), False), (_chroma_filters(), True)])
    return _framed(mel, chroma, frames, fps, start_s)


def analyze(
    audio: FloatArray, sample_rate: int, frames: int, fps: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """`spectral_features` (T, 44) and `onset_envelope` (M,) of a track, for one transform."""
    sound = to_analysis_rate(audio, sample_rate)
    banks = [(mel_filters(MEL_BANDS), False), (_chroma_filters(), True)]
    mel, chroma, power = _projected(sound, [*banks, (mel_filters(ONSET_BANDS), False)])
    return _framed(mel, chroma, frames, fps, 0.0), _onsets(power, len(sound))


def _framed(
    mel: NDArray[np.float32],
    chroma: NDArray[np.float32],
    frames: int,
    fps: float,
    start_s: float,
) -> NDArray[np.float32]:
    edges = (start_s + (np.arange(frames + 1) - 0.5) / fps) * ENVELOPE_RATE_HZ
    # A full-scale sine has the power (WINDOW / 4)^2 in its bin; with the filters' unit area a
    # band of such a sine is near 0 dB after this scale.
    power = _mean_between(mel, edges) * (100.0 / (WINDOW / 4) ** 2)
    level = np.clip(10.0 * np.log10(np.maximum(power, 1e-10)) / _FLOOR_DB + 1.0, 0.0, 1.0)
    classes = _mean_between(chroma, edges)
    strongest = classes.max(axis=1, keepdims=True, initial=0.0)
    classes = np.where(strongest > 1e-9, classes / np.maximum(strongest, 1e-9), 0.0)
    return np.concatenate([level, classes], axis=1).astype(np.float32)


def _mean_between(columns: NDArray[np.float32], edges: FloatArray) -> NDArray[np.float64]:
    """Means of `columns` (M, F) over the intervals between `edges` (T + 1,), zero outside."""
    if not len(columns):
        return np.zeros((len(edges) - 1, columns.shape[1]))
    # Column m stands for the time around m, so interval edges are rounded to columns; an interval
    # holds one column at least.
    bounds = np.round(edges).astype(np.int64)
    low, high = bounds[:-1], np.maximum(bounds[1:], bounds[:-1] + 1)
    total = np.concatenate([np.zeros((1, columns.shape[1])), np.cumsum(columns, 0, np.float64)])
    low, high = np.clip(low, 0, len(columns)), np.clip(high, 0, len(columns))
    return np.maximum(total[high] - total[low], 0.0) / np.maximum(high - low, 1)[:, None]


def _projected(
    sound: NDArray[np.float32], banks: list[tuple[NDArray[np.float32], bool]]
) -> list[NDArray[np.float32]]:
    """The spectrogram through each bank of filters, (M, bands); True: its magnitude, not power."""
    parts: list[list[torch.Tensor]] = [[] for _ in banks]
    for power in _power(sound):
        for part, (bank, magnitude) in zip(parts, banks, strict=True):
            part.append((power.sqrt() if magnitude else power) @ torch.from_numpy(bank).T)
    return [torch.cat(part).numpy() for part in parts]


def _power(sound: NDArray[np.float32]) -> Iterator[torch.Tensor]:
    """Power spectrogram (M, WINDOW / 2 + 1) in pieces, column m centered at m * HOP samples."""
    window = torch.hann_window(WINDOW)
    columns = 1 + len(sound) // HOP
    for first in range(0, columns, _CHUNK):
        count = min(_CHUNK, columns - first)
        start = first * HOP - WINDOW // 2
        stop = start + (count - 1) * HOP + WINDOW
        part = torch.from_numpy(sound[max(0, start) : stop])
        # Zeros in front of the sound and behind it, without a padded copy of all of it.
        ahead = max(0, -start)
        part = torch.nn.functional.pad(part, (ahead, stop - start - ahead - len(part)))
        piece = part.unfold(0, WINDOW, HOP)
        yield torch.view_as_real(torch.fft.rfft(piece * window)).square().sum(-1)


@lru_cache(maxsize=4)
def mel_filters(bands: int) -> NDArray[np.float32]:
    """Triangular mel filters (bands, WINDOW / 2 + 1), 0 Hz to 22,050 Hz, on Slaney's scale (linear
    below 1 kHz, logarithmic above) and with unit area."""
    edges = _mel_to_hz(np.linspace(0.0, _hz_to_mel(SAMPLE_RATE / 2), bands + 2))
    bins = np.fft.rfftfreq(WINDOW, 1.0 / SAMPLE_RATE)
    ramps = edges[:, None] - bins[None, :]
    widths = np.diff(edges)
    rising = -ramps[:-2] / widths[:-1, None]
    falling = ramps[2:] / widths[1:, None]
    filters = np.maximum(0.0, np.minimum(rising, falling))
    filters *= (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return filters.astype(np.float32)


_HZ_PER_MEL = 200.0 / 3.0
_BREAK_HZ = 1000.0
_LOG_STEP = np.log(6.4) / 27.0


def _hz_to_mel(hz: float) -> float:
    if hz < _BREAK_HZ:
        return hz / _HZ_PER_MEL
    return float(_BREAK_HZ / _HZ_PER_MEL + np.log(hz / _BREAK_HZ) / _LOG_STEP)


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    break_mel = _BREAK_HZ / _HZ_PER_MEL
    above = _BREAK_HZ * np.exp(_LOG_STEP * (mel - break_mel))
    return np.where(mel < break_mel, mel * _HZ_PER_MEL, above)


@lru_cache(maxsize=1)
def _chroma_filters() -> NDArray[np.float32]:
    """Pitch-class weights (12, WINDOW / 2 + 1): a Gaussian of half a semitone round each pitch,
    between 200 Hz, below which neighboring pitches share a bin, and 5 kHz."""
    bins = np.fft.rfftfreq(WINDOW, 1.0 / SAMPLE_RATE)
    pitch = 12.0 * np.log2(np.maximum(bins, 1.0) / 261.6256)
    distance = (pitch[None, :] - np.arange(CHROMA)[:, None] + 6.0) % 12.0 - 6.0
    filters = np.exp(-0.5 * (distance / 0.5) ** 2)
    filters[:, (bins < 200.0) | (bins > 5000.0)] = 0.0
    return filters.astype(np.float32)
