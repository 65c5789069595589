"""What a media file's headers and packets say, and which of its streams and frames are shown.

Only this file, `video`, `sound` and `write` use PyAV (FFmpeg).
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
from av.stream import Disposition
from numpy.typing import NDArray

from datamodules.errors import DataError

# Broadcasts and their recordings may start anywhere, in the middle of a key frame too.
_BROADCAST = ("mpegts", "mpeg")


@dataclass(frozen=True)
class VideoInfo:
    """What a file's headers and packet times say; only its first frame is decoded for it."""

    frames: int
    fps: float
    """Mean rate: frames - 1 over the time from the first frame to the last."""
    claimed_fps: float | None
    """Rate that the container states, or FFmpeg's estimate from the first packets where it states
    none; None where there is neither. Not used for timing where time stamps exist."""
    width: int
    """Pixels as shown, after rotation."""
    height: int
    duration_s: float
    """Duration of the video track: frames / fps."""
    rotation: int
    """Degrees clockwise by which a player turns the stored image: 0, 90, 180 or 270."""
    has_audio: bool
    audio_rate: int
    """Hertz; 0 without sound."""
    audio_duration_s: float
    timestamps_s: NDArray[np.float64]
    """(frames,) presentation times, seconds from the first frame."""
    pts: NDArray[np.int64]
    """(frames,) the same in the file's own unit, from the file's own start."""
    pts_reliable: bool = True
    """False where the file states decoding times only (H.264 with B-frames in AVI or ASF, bare
    streams): frames are counted, and read from the start, because seeking would miss."""
    skipped_s: float = 0.0
    """Time before the first frame that can be shown, where the file starts in the middle of a
    group of pictures. All times, those of the sound included, count from the frame shown first."""


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """Return size, rate, duration and frame times of a video.

    Raises:
        DataError: The file is not a video that FFmpeg can open.
    """
    with opened(path) as container:
        stream = video_stream(container, path)
        first, skipped_s = first_frame(container, stream, path)
        rotation = round(-first.rotation / 90) * 90 % 360
        width, height = stream.codec_context.width, stream.codec_context.height
        reorders = bool(stream.codec_context.has_b_frames)
        audio = next(iter(audio_streams(container)), None)
        audio_s, audio_rate = 0.0, 0
        if audio is not None:
            audio_rate = int(audio.codec_context.sample_rate)
            audio_s = float((audio.duration or 0) * audio.time_base)
        claimed = float(stream.average_rate or 0) or None
        nominal = stream.average_rate or stream.guessed_rate or Fraction(25)
    pts, reliable, time_base = _frame_times(path, first.pts, reorders, 1 / nominal)
    times = (pts - pts[0]).astype(np.float64) * float(time_base)
    span = float(times[-1])
    fps = (len(times) - 1) / span if span > 0 else float(nominal)
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
        pts_reliable=reliable,
        skipped_s=skipped_s,
    )


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Open an FFmpeg container and close it in any case; errors name the file."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path} does not exist.")
    if os.path.isdir(path):
        raise DataError(f"{path} is a folder; a media file was expected.")
    with open(path, "rb"):  # report a missing permission before FFmpeg reports its own EPERM
        pass
    try:
        with av.open(media_url(path)) as container:
            yield container
    except (av.FFmpegError, OverflowError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise DataError(f"{path} cannot be read as video or sound: {reason}.") from error


def media_url(path: str | os.PathLike[str]) -> str:
    """Return a path as FFmpeg must be given it: `Artist: Song.mp3` alone would be a protocol."""
    return f"file:{os.fspath(path)}"


def video_stream(container: Any, path: str | os.PathLike[str]) -> Any:
    """Return the stream that a player would show: not a cover image, the default one if marked.

    Raises:
        DataError: The file has no video that FFmpeg can decode.
    """
    streams = list(container.streams.video)
    if not streams:
        raise DataError(f"{path} has no video track; a video was expected.")
    streams = [s for s in streams if s.codec_context is not None and s.codec_context.width]
    if not streams:
        raise DataError(f"{path} has a video track of a kind that FFmpeg cannot decode.")
    films = [s for s in streams if not s.disposition & Disposition.attached_pic]
    if not films:
        raise DataError(f"{path} has no video track but a cover image; a video was expected.")
    if len(films) > 1:
        counts = _packet_counts(path)
        films = [s for s in films if counts[s.index] > 1] or films
    return next((s for s in films if s.disposition & Disposition.default), films[0])


def audio_streams(container: Any) -> list[Any]:
    """Return the sound tracks that FFmpeg can decode, in the order in which to try them.

    Players start with the track marked as default; commentary comes last.
    """
    extra = Disposition.comment | Disposition.hearing_impaired | Disposition.visual_impaired
    known = [s for s in container.streams.audio if s.codec_context is not None]
    return sorted(
        known,
        key=lambda s: (bool(s.disposition & extra), not s.disposition & Disposition.default),
    )


def first_frame(container: Any, stream: Any, path: str | os.PathLike[str]) -> tuple[Any, float]:
    """Decode the first frame that can be shown.

    Returns:
        The frame, and the time in seconds between the start of the stream and this frame.

    Raises:
        DataError: No frame can be decoded.
    """
    lowest: list[int] = []
    stream.codec_context.options = {"err_detect": "explode"}
    for frame in decoded_frames(container, stream, fed_pts=lowest):
        skipped = 0.0
        if frame.pts is not None and lowest:
            skipped = max(0.0, float((frame.pts - min(lowest)) * stream.time_base))
        return frame, skipped
    raise DataError(f"{path} holds no frame that can be decoded.")


def decoded_frames(
    container: Any,
    stream: Any,
    start_pts: int | None = None,
    after_seek: bool = False,
    fed_pts: list[int] | None = None,
) -> Iterator[Any]:
    """Decode a stream in display order from wherever the container is, starting at a key frame.

    Streams that were cut begin with frames that refer to others before the cut: those before
    the first key frame, and those that are stored after it but displayed before it (open groups
    of pictures). They are left out. Damage after the first frame raises FFmpeg's error.

    Args:
        container: An open container.
        stream: Its video stream. Without `start_pts`, frame threading must be off, because it
            reports errors with a later packet.
        start_pts: Time stamp of the first frame that can be shown, where known.
        after_seek: The container was moved; frames displayed before its key frame are left out.
        fed_pts: Extended by the time stamps of the packets in front of the first frame.
    """
    broadcast = container.format.name in _BROADCAST
    key_pts: int | None = None
    started = shown = False
    for packet in container.demux(stream):
        pts = packet.pts
        if not shown and packet.size:
            if fed_pts is not None and pts is not None and not packet.is_discard:
                fed_pts.append(pts)
            if packet.is_keyframe and not started:
                started, key_pts = True, pts
            if not started:
                continue
            if pts is not None and start_pts is not None and not packet.is_discard:
                leading = pts < (key_pts or 0) and (after_seek or pts < start_pts)
                if leading or (broadcast and not after_seek and pts < start_pts):
                    started = started and pts != key_pts
                    continue
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            if shown or not packet.size:
                raise
            if packet.is_keyframe and broadcast:  # cut in the middle of the key frame
                stream.codec_context.flush_buffers()
                started = False
            elif packet.is_keyframe or (start_pts is not None and pts >= (key_pts or 0)):
                raise
            continue
        for frame in frames:
            early = key_pts is not None and frame.pts is not None and frame.pts < key_pts
            if not shown and frame.is_corrupt and early:
                continue
            shown = True
            yield frame


def _frame_times(
    path: str | os.PathLike[str], first_pts: int | None, reorders: bool, frame_s: Fraction
) -> tuple[NDArray[np.int64], bool, Fraction]:
    """Return ascending presentation times of the shown frames, whether the file states them, and
    the unit of the times in seconds."""
    with opened(path) as container:
        stream = video_stream(container, path)
        packets = [p for p in container.demux(stream) if p.size or p.dts is not None]
        _check_complete(path, container.format.name, stream, packets)
        shown = [packet.pts for packet in packets if not packet.is_discard]
        time_base = stream.time_base
    if not shown:
        raise DataError(f"{path} holds no frames.")
    stated = all(pts is not None for pts in shown)
    # Frames that refer to later ones are stored after them, so presentation times in the order
    # of storage cannot ascend throughout: such times are those of decoding.
    in_order = reorders and len(shown) > 2 and stated and bool(np.all(np.diff(shown) > 0))
    if stated and first_pts is not None and not in_order:
        pts = np.unique(np.asarray(shown, dtype=np.int64))
        return pts[pts >= first_pts], True, time_base
    count = _count_frames(path)
    if stated and count <= len(shown):
        return np.unique(np.asarray(shown, dtype=np.int64))[-count:], False, time_base
    return np.arange(count, dtype=np.int64), False, frame_s


def _count_frames(path: str | os.PathLike[str]) -> int:
    with opened(path) as container:
        stream = video_stream(container, path)
        return sum(1 for _ in decoded_frames(container, stream))


def _packet_counts(path: str | os.PathLike[str]) -> dict[int, int]:
    """Return the number of packets by stream index."""
    with opened(path) as container:
        counts = dict.fromkeys((stream.index for stream in container.streams), 0)
        for packet in container.demux():
            counts[packet.stream.index] += bool(packet.size)
    return counts


def _check_complete(
    path: str | os.PathLike[str], kind: str, stream: Any, packets: list[Any]
) -> None:
    """Refuse a file that has lost frames: all later ones would be shifted against the sound."""
    held, promised = len(packets), stream.frames
    if kind == "avi" and held > 1:  # its header counts ticks, and only ticks tell the time
        last, before = packets[-1].pts or 0, packets[0].pts or 0
        held = last + 1 + round(0.5 * (last - before) / (held - 1))
    if held < promised:
        raise DataError(
            f"{path} has lost frames: it holds {held} of the {promised} that its header promises."
        )
