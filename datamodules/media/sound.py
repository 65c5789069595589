"""Sound of songs and videos, resampled and mixed down."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from datamodules.errors import DataError
from datamodules.media.probe import audio_streams, first_frame, opened, video_stream

#: Peak below which a sound track is silent: -60 dB of full scale.
SILENCE = 1e-3
# Share of the loudest channel's energy below which a mix has canceled out.
_CANCELED = 0.1
# Share of the sound's energy that may cancel out before the loudest channel is taken instead.
_TOLERATED = 0.1

FloatArray = NDArray[np.float32]


def read_audio(
    path: str | os.PathLike[str], sample_rate: int, mono: bool = True, strict: bool = True
) -> FloatArray:
    """Read the sound of a song or a video, resampled; anything that FFmpeg reads.

    Of several sound tracks the default one is read, unless it is silent and another is not. Mono
    is the mean of all channels; where channels cancel each other (opposite phase) or all but a few
    are silent, it is the loudest channel.

    Args:
        path: A sound file or a video. Sample 0 of a video's sound is played with its first frame.
        sample_rate: Hertz wanted.
        mono: Mix down to one channel; else to stereo.
        strict: Refuse damage. Otherwise play what FFmpeg plays: damaged frames are left out.

    Returns:
        (S,) float32 in [-1, 1], or (2, S). Values that are not numbers are read as silence.

    Raises:
        DataError: No sound in the file, or damage in it.
    """
    first: FloatArray | None = None
    with opened(path) as container:
        tracks = [stream.index for stream in audio_streams(container)]
        if not tracks and container.streams.audio:
            raise DataError(f"{path} holds sound of a kind that FFmpeg cannot decode.")
    for track in tracks:
        sound = _read_track(path, track, sample_rate, mono, strict)
        if sound is None:
            continue
        if float(np.abs(sound).max(initial=0.0)) >= SILENCE:
            return sound
        first = sound if first is None else first
    if first is not None:
        return first
    if tracks:
        raise DataError(f"{path} has a sound track without a single sample.")
    raise DataError(f"{path} has no sound; a song or a video with sound was expected.")


def _read_track(
    path: str | os.PathLike[str], track: int, sample_rate: int, mono: bool, strict: bool
) -> FloatArray | None:
    """Read one sound track; None where it has no sample."""
    channel: int | None = None
    while True:
        pieces: list[FloatArray] = []
        meter = _PhaseMeter()
        with opened(path) as container:
            stream = container.streams[track]
            if strict:
                stream.codec_context.options = {"err_detect": "explode"}
            start = 0.0
            for time_s, piece in _pieces(container, stream, sample_rate, strict):
                if not pieces:
                    start = time_s
                piece = np.nan_to_num(piece, posinf=0.0, neginf=0.0)
                if mono:
                    meter.add(piece)
                pieces.append(_mixed(piece, mono, channel))
        if not pieces:
            return None
        if channel is not None or not meter.cancels():
            break
        channel = meter.loudest()  # read again, that channel only
    sound = np.concatenate(pieces, axis=1)
    pieces.clear()
    video_start = _video_start(path)
    # A song is not delayed: MP3 states a late start by what its encoder added in front.
    late = min(start, 0.0) if video_start is None else start - video_start
    sound = _shifted(sound, round(late * sample_rate))
    np.clip(sound, -1.0, 1.0, out=sound)
    return sound[0] if mono else sound


def _pieces(
    container: Any, stream: Any, sample_rate: int, strict: bool
) -> Iterator[tuple[float, FloatArray]]:
    """Yield the start (seconds) and samples (channels, n) of a track, resampled.

    Joined files change their rate or layout on the way; the resampler is then replaced.
    """
    resampler: Any = None
    kind: tuple[Any, ...] = ()
    channels = 1

    def samples(frame: Any) -> FloatArray:
        # Interleaved: PyAV reads beyond the end of planar frames with more than eight channels.
        return frame.to_ndarray().reshape(-1, channels).T

    for frame in _decoded(container, stream, strict):
        time_s = float(frame.time or 0.0)
        frame.pts = None  # gaps and wrong time stamps are not repaired
        if kind != (kind := (frame.format.name, frame.layout.name, frame.rate)):
            if resampler is not None:
                yield from ((time_s, samples(piece)) for piece in resampler.resample(None))
            resampler = AudioResampler("flt", frame.layout, sample_rate)
            channels = frame.layout.nb_channels
        for piece in resampler.resample(frame):
            yield time_s, samples(piece)
    if resampler is not None:
        yield from ((0.0, samples(piece)) for piece in resampler.resample(None))


def _decoded(container: Any, stream: Any, strict: bool) -> Iterator[Any]:
    """Yield decoded frames; unless `strict`, without those that are damaged."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            yield from packet.decode()
        except av.error.InvalidDataError:
            if strict:
                raise
        except av.FFmpegError:
            if strict:
                raise
            return  # not the data but the reading failed, as at the end of a broken file


def _mixed(piece: FloatArray, mono: bool, channel: int | None) -> FloatArray:
    """Return (1, n) or (2, n) samples of (channels, n)."""
    if mono:
        row = piece.mean(axis=0) if channel is None else piece[min(channel, len(piece) - 1)]
        return row[None].astype(np.float32, copy=False)
    if len(piece) == 2:
        return piece
    # The mean on both sides: layouts of more channels need not have a matrix for stereo.
    return np.repeat(piece.mean(axis=0, keepdims=True, dtype=np.float32), 2, axis=0)


class _PhaseMeter:
    """Measures how much of a sound is lost by the mean of its channels."""

    def __init__(self) -> None:
        self._energy = np.zeros(1)  # by channel
        self._total = self._lost = 0.0

    def add(self, piece: FloatArray) -> None:
        """Take in samples (channels, n)."""
        if len(piece) < 2:
            return
        energy = np.square(piece, dtype=np.float64).sum(axis=1)
        if len(energy) > len(self._energy):
            self._energy = np.pad(self._energy, (0, len(energy) - len(self._energy)))
        self._energy[: len(energy)] += energy
        mix = float(np.square(piece.mean(axis=0), dtype=np.float64).sum())
        self._total += energy.max()
        self._lost += energy.max() if mix < _CANCELED * energy.max() else 0.0

    def cancels(self) -> bool:
        """Whether too much of the sound is lost in the mean."""
        return self._lost > _TOLERATED * self._total

    def loudest(self) -> int:
        """Return the channel with the most energy."""
        return int(self._energy.argmax())


def _video_start(path: str | os.PathLike[str]) -> float | None:
    """Return when the first frame is shown (seconds of the container's clock); None for songs."""
    with opened(path) as container:
        try:
            stream = video_stream(container, path)
        except DataError:
            return None
        if stream.start_time is None or (stream.frames == 1 and stream.duration):
            return None
        _, skipped_s = first_frame(container, stream, path)
        return float(stream.start_time * stream.time_base) + skipped_s


def _shifted(sound: FloatArray, samples: int) -> FloatArray:
    """Cut or pad sound that starts `samples` after the first frame, to start with it."""
    if samples <= 0:
        return sound[:, -samples:]
    return np.pad(sound, ((0, 0), (samples, 0)))
