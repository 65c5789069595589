"""Pieces of music that are the same song under two names, found by their sound.

Other encodings, levels, beginnings and cuts of a song share melody and timbre over time, so pieces
are compared by the correlation of their spectral features over windows of some seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.ndimage import convolve1d

from datamodules.media.spectrum import MEL_BANDS

SAME_SONG = 0.7
"""Correlation from which two pieces are the same song; other songs, also of the same tempo, stay
below 0.6, copies cut at any sample above 0.8."""
MAX_PIECES = 200
"""Pieces that are compared with one another; the work grows with the square of their number."""
_RATE_HZ = 10.0
_WINDOW = 60  # 6 s
_WINDOWS = 4  # of each piece, evenly spaced
_LONGEST = 1800  # 3 minutes
_SMOOTHING = np.hanning(9)[1:-1]

Features = NDArray[np.float32]


def song_copies(spectral: Mapping[str, Features], fps: float) -> list[tuple[str, str, float]]:
    """Return the pairs of pieces that are the same song.

    Args:
        spectral: Features (N, 44) of each piece, see `spectrum.spectral_features`; the first three
            minutes of at most `MAX_PIECES` pieces are compared.
        fps: Rows of features a second.

    Returns:
        Pairs of names in order, and the correlation of the two.
    """
    names = sorted(name for name in spectral if spectral[name].any())[:MAX_PIECES]
    if len(names) < 2:
        return []
    wholes = [_reduced(spectral[name], fps) for name in names]
    windows, owner = _cut(wholes)
    length = next_fast_len(max(map(len, wholes)) + _WINDOW, real=True)
    spectra = np.conj(rfft(windows, length, axis=1))
    norms = np.sqrt(np.square(windows, dtype=np.float64).sum(axis=(1, 2)))
    best = np.zeros((len(names), len(names)))
    for number, whole in enumerate(wholes):
        np.maximum.at(best[number], owner, _best_places(whole, spectra, norms, length))
    best = np.maximum(best, best.T)
    return [
        (names[one], names[other], round(float(best[one, other]), 3))
        for one, other in zip(*np.nonzero(np.triu(best >= SAME_SONG, 1)), strict=True)
    ]


def _reduced(spectral: Features, fps: float) -> Features:
    """Return 8 mel bands and 12 pitch classes (M, 20) at about 10 Hz, of mean 0 and deviation 1.

    They are smoothed over 0.7 s, because copies are cut between two rows of features; the mel bands
    are taken from decibels to a scale close to loudness, on which silence is not an extreme.
    """
    step = max(1, round(fps / _RATE_HZ))
    rows = len(spectral) // step * step
    slow = spectral[:rows].reshape(-1, step, spectral.shape[1]).mean(axis=1)[:_LONGEST]
    mel = slow[:, :MEL_BANDS].reshape(len(slow), 8, -1).mean(axis=2)
    loudness = 10.0 ** (1.2 * (mel - 1.0))
    joined = np.concatenate([loudness, slow[:, MEL_BANDS:]], axis=1)
    smooth = convolve1d(joined, _SMOOTHING / _SMOOTHING.sum(), axis=0, mode="constant")
    smooth = smooth / np.maximum(smooth.std(axis=0), 1e-6)
    return np.asarray(smooth - smooth.mean(axis=0), dtype=np.float32)


def _cut(wholes: Sequence[Features]) -> tuple[Features, NDArray[np.int64]]:
    """Return windows (N, W, F) without their means, padded by zeros, and the piece of each."""
    windows, owner = [], []
    for number, whole in enumerate(wholes):
        last = max(0, len(whole) - _WINDOW)
        for start in sorted(set(np.linspace(0, last, _WINDOWS).astype(int).tolist())):
            part = whole[start : start + _WINDOW]
            windows.append(np.pad(part - part.mean(axis=0), ((0, _WINDOW - len(part)), (0, 0))))
            owner.append(number)
    return np.stack(windows).astype(np.float32), np.asarray(owner)


def _best_places(
    whole: Features,
    spectra: NDArray[np.complexfloating],
    norms: NDArray[np.float64],
    length: int,
) -> NDArray[np.float64]:
    """Return the highest correlation of each window (N,) with `whole`, inside of it."""
    if len(whole) < _WINDOW:
        return np.zeros(len(spectra))
    places = len(whole) - _WINDOW + 1
    products = irfft((rfft(whole, length, axis=0) * spectra).sum(axis=2), length, axis=1)
    # Windows have no mean, so only the energy of the piece around its own local mean matters.
    zero = np.zeros((1, whole.shape[1]))
    total = np.concatenate([zero, np.cumsum(whole, axis=0, dtype=np.float64)])
    square = np.concatenate([zero, np.cumsum(np.square(whole, dtype=np.float64), axis=0)])
    sums = total[_WINDOW:] - total[:-_WINDOW]
    energy = (square[_WINDOW:] - square[:-_WINDOW] - sums**2 / _WINDOW).sum(axis=1)
    score = products[:, :places] / np.sqrt(np.maximum(energy, 1e-6))
    return score.max(axis=1) / np.maximum(norms, 1e-3)
