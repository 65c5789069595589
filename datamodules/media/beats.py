"""Music beats as data: features of each frame, beat files, moving and stretching."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import DataError

FloatArray = NDArray[np.floating]


def beat_features(
    beats_s: FloatArray,
    onset_envelope: FloatArray,
    envelope_rate_hz: float,
    frames: int,
    fps: float,
    start_s: float = 0.0,
) -> NDArray[np.float32]:
    """Beat features of each frame, (T, 7) float32, in the order of `batch.BEAT_FEATURES`.

    Args:
        beats_s: (N,) ascending seconds from the start of the sound track.
        onset_envelope: (M,) non-negative, of the whole track; see `normalized_onset`.
        envelope_rate_hz: Samples of `onset_envelope` a second.
        frames: T.
        fps: Frames a second.
        start_s: Seconds of the track at which frame 0 lies.

    Phase and interval run on by the median interval before the first and behind the last beat.
    With fewer than two beats, phase columns and interval are 0.
    """
    beats = np.asarray(beats_s, dtype=np.float64)
    features = np.zeros((frames, 7), dtype=np.float32)
    if frames == 0:
        return features
    times = start_s + np.arange(frames) / fps
    _splat(features[:, 0], (beats - start_s) * fps)
    if len(beats) > 1:
        knots = _cover(beats, times[0], times[-1])
        before = np.searchsorted(knots, times + 1e-9, side="right") - 1
        interval = knots[before + 1] - knots[before]
        angle = 2.0 * math.pi * (times - knots[before]) / interval
        features[:, 1], features[:, 2] = np.sin(angle), np.cos(angle)
        features[:, 3], features[:, 4] = np.sin(2.0 * angle), np.cos(2.0 * angle)
        features[:, 6] = interval
    onset = normalized_onset(onset_envelope)
    features[:, 5] = onset_per_frame(onset, envelope_rate_hz, frames, fps, start_s)
    return features


def _splat(impulse: NDArray[np.float32], positions: NDArray[np.float64]) -> None:
    """Add unit impulses at fractional frame `positions`, shared by the two nearest frames."""
    low = np.floor(positions).astype(np.int64)
    share = positions - low
    for index, weight in ((low, 1.0 - share), (low + 1, share)):
        inside = (index >= 0) & (index < len(impulse))
        np.add.at(impulse, index[inside], weight[inside].astype(np.float32))


def _cover(beats: NDArray[np.float64], first: float, last: float) -> NDArray[np.float64]:
    """`beats` continued at their median interval until they enclose [first, last]."""
    step = float(np.median(np.diff(beats)))
    ahead = max(1, math.ceil((beats[0] - first) / step) + 1)
    behind = max(1, math.ceil((last - beats[-1]) / step) + 2)
    before = beats[0] - step * np.arange(ahead, 0, -1)
    after = beats[-1] + step * np.arange(1, behind + 1)
    return np.concatenate([before, beats, after])


def normalized_onset(onset_envelope: FloatArray) -> NDArray[np.float32]:
    """The envelope divided by its 98th percentile and clipped to [0, 1]; zeros for silence."""
    envelope = np.asarray(onset_envelope, dtype=np.float32)
    top = float(np.percentile(envelope, 98.0)) if envelope.size else 0.0
    if top <= 1e-6:
        top = max(float(envelope.max(initial=0.0)), 1e-6)
    return np.clip(envelope / top, 0.0, 1.0)


def onset_per_frame(
    envelope: FloatArray, rate_hz: float, frames: int, fps: float, start_s: float = 0.0
) -> NDArray[np.float32]:
    """The largest value of `envelope` within half a frame of each frame, (T,); 0 outside it."""
    edges = np.round((start_s + (np.arange(frames + 1) - 0.5) / fps) * rate_hz).astype(np.int64)
    low, high = edges[:-1], np.maximum(edges[1:], edges[:-1] + 1)
    if not len(envelope) or not frames:
        return np.zeros(frames, dtype=np.float32)
    inside = (high > 0) & (low < len(envelope))
    # Pairs (low, high) with everything between pairs reduced too and then dropped.
    padded = np.append(envelope, 0.0)
    pairs = np.stack([np.clip(low, 0, len(envelope)), np.clip(high, 0, len(envelope))], axis=1)
    peaks = np.maximum.reduceat(padded, pairs.reshape(-1))[::2]
    return np.where(inside, peaks, 0.0).astype(np.float32)


def read_beat_file(path: Path) -> NDArray[np.float64]:
    """Beats in seconds from a text file: one beat a line, the first column counts, `#` starts a
    comment, columns are separated by blanks, tabs, commas or semicolons.

    Raises:
        DataError: The file cannot be read as ascending, finite, non-negative seconds.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"The beat file {path} is not text; write one beat a line, in seconds."
        ) from error
    beats: list[float] = []
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.split("#")[0].replace(",", " ").replace(";", " ").split()
        if not content:
            continue
        try:
            seconds = float(content[0])
        except ValueError as error:
            raise DataError(
                f"Line {number} of the beat file {path} reads {content[0][:40]!r}, "
                "but a time in seconds is needed."
            ) from error
        if not math.isfinite(seconds) or seconds < 0.0 or seconds > 86_400.0:
            raise DataError(
                f"Line {number} of the beat file {path} reads {content[0][:40]!r}, "
                "but a time from 0 to 86400 seconds is needed."
            )
        if beats and seconds <= beats[-1]:
            raise DataError(
                f"Line {number} of the beat file {path} ({seconds:g} s) does not come after the "
                f"beat before it ({beats[-1]:g} s); beats must ascend."
            )
        beats.append(seconds)
    if not beats:
        raise DataError(f"The beat file {path} holds no beat; write one beat a line, in seconds.")
    return np.asarray(beats, dtype=np.float64)
