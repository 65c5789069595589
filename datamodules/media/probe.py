"""Media files opened by FFmpeg: what their headers and packets say, before a frame is decoded.

Only this file, `video` and `video_write` know PyAV.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from datamodules.errors import DataError


@dataclass(frozen=True)
class VideoInfo:
    """What a file's headers and packet times say; no frame is decoded for it."""

    frames: int
    fps: float
    """Mean rate: frames - 1 over the time from the first frame to the last."""
    claimed_fps: float | None
    """The rate that the container states, or FFmpeg's estimate from the first packets where it
    states none; None where there is neither. Nothing is timed by it where time stamps exist."""
    width: int
    """Pixels as shown, after rotation."""
    height: int
    duration_s: float
    """Time of the picture: frames / fps."""
    rotation: int
    """Degrees clockwise that a player turns the stored picture by: 0, 90, 180 or 270."""
    has_audio: bool
    audio_rate: int
    """Hertz; 0 without sound."""
    audio_duration_s: float
    timestamps_s: NDArray[np.float64]
    """(frames,) presentation times, seconds from the first frame."""
    pts: NDArray[np.int64]
    """(frames,) the same as the file holds them, in its own unit, from its own start."""


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """Sizes, rate, duration and frame times of a video.

    Raises:
        DataError: the file is no video that FFmpeg can open.
    """
    with opened(path) as container:
        stream = video_stream(container, path)
        rotation = _rotation(container, stream, path)
        audio = container.streams.audio[0] if container.streams.audio else None
        if audio is not None and audio.codec_context is None:
            audio = None
        width, height = stream.codec_context.width, stream.codec_context.height
        audio_s = 0.0
        if audio is not None and audio.duration is not None:
            audio_s = float(audio.duration * audio.time_base)
        audio_rate = int(audio.codec_context.sample_rate) if audio is not None else 0
        claimed = float(stream.average_rate or 0) or None
        nominal = claimed or float(stream.guessed_rate or 0) or 25.0
    pts, time_base = packet_times(path)
    times = (pts - pts[0]).astype(np.float64) * time_base
    span = float(times[-1])
    fps = (len(times) - 1) / span if span > 0 else nominal
    if rotation in (90, 270):
        width, height = height, width
    return VideoInfo(
        frames=len(times),
        fps=fps,
        claimed_fps=claimed,
        width=width,
        height=height,
        duration_s=len(times) / fps,
        rotation=rotation,
        has_audio=audio_rate > 0,
        audio_rate=audio_rate,
        audio_duration_s=audio_s,
        timestamps_s=times,
        pts=pts,
    )


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """An FFmpeg container that is closed in any case; its errors name the file."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path} does not exist.")
    if os.path.isdir(path):
        raise DataError(f"{path} is a folder; a media file was expected.")
    with open(path, "rb"):  # a permission that lacks is said before FFmpeg's own EPERM can be
        pass
    try:
        with av.open(str(path)) as container:
            yield container
    except (av.FFmpegError, OverflowError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise DataError(f"{path} cannot be read as video or sound: {reason}.") from error


def video_stream(container: Any, path: str | os.PathLike[str]) -> Any:
    if not container.streams.video:
        raise DataError(f"{path} holds no picture; a video was expected.")
    stream = container.streams.video[0]
    if stream.codec_context is None or not stream.codec_context.width:
        raise DataError(f"{path} holds a picture of a kind that FFmpeg cannot decode.")
    return stream


def packet_times(path: str | os.PathLike[str]) -> tuple[NDArray[np.int64], float]:
    """Presentation times of the shown frames, ascending, in units of the second value (s)."""
    with opened(path) as container:
        stream = video_stream(container, path)
        packets = [p for p in container.demux(stream) if p.size or p.dts is not None]
        _check_complete(path, container.format.name, stream, packets)
        shown = [packet.pts for packet in packets if not packet.is_discard]
        time_base = float(stream.time_base)
        if any(pts is None for pts in shown):  # bare streams carry no times
            rate = stream.average_rate or stream.guessed_rate or Fraction(25)
            return np.arange(len(shown), dtype=np.int64), float(1 / rate)
    if not shown:
        raise DataError(f"{path} holds no frames.")
    return np.unique(np.asarray(shown, dtype=np.int64)), time_base


def _check_complete(
    path: str | os.PathLike[str], kind: str, stream: Any, packets: list[Any]
) -> None:
    """Frames lost in the middle of a file would move all later ones against the sound."""
    held, promised = len(packets), stream.frames
    if kind == "avi" and held > 1:  # its header counts ticks, and only ticks tell the time
        last, before = packets[-1].pts or 0, packets[0].pts or 0
        held = last + 1 + round(0.5 * (last - before) / (held - 1))
    if held < promised:
        raise DataError(
            f"{path} has lost frames: it holds {held} of the {promised} that its header promises."
        )


def _rotation(container: Any, stream: Any, path: str | os.PathLike[str]) -> int:
    """Degrees clockwise a player turns the picture by; it is stored with the first frame."""
    for frame in container.decode(stream):
        return round(-frame.rotation / 90) * 90 % 360
    raise DataError(f"{path} holds no frame that can be decoded.")
