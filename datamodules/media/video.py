"""Frames of video files; the only file that uses decord. Other readers and writers of media are
re-exported, so that `media.video` is all that most callers import.

Time: 0 is the video's first frame, for its sound too. Frames are uint8 RGB, (T, 3, H, W).

`stream_frames` decodes with PyAV (FFmpeg) and strict error detection, and holds one frame at a time
whatever the length. decord is faster, but only safe for clips that this project wrote.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Literal

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from torch import Tensor

from datamodules.errors import DataError
from datamodules.media.images import (
    FitBox,
    fit_box,
    fit_image,
    place_in_square,
    read_image,
)
from datamodules.media.probe import VideoInfo, decoded_frames, opened, probe, video_stream
from datamodules.media.sound import read_audio
from datamodules.media.write import write_video

try:
    import decord
except ImportError:  # no wheel for this platform: PyAV reads everything
    decord = None

__all__ = [
    "FitBox",
    "VideoInfo",
    "fit_box",
    "fit_image",
    "nearest_frames",
    "place_in_square",
    "probe",
    "read_audio",
    "read_clip",
    "read_frames",
    "read_image",
    "stream_frames",
    "write_video",
]

Reader = Literal["decord", "av"]


def read_frames(
    path: str | os.PathLike[str],
    indices: Sequence[int] | None = None,
    times_s: Sequence[float] | NDArray[Any] | None = None,
    reader: Reader = "av",
) -> Tensor:
    """Read frames of a video by index, by time (the nearest frame), or all of them.

    Args:
        path: Any video.
        indices: Frame numbers in display order; any order of numbers, repeats allowed.
        times_s: Seconds from the first frame; give this or `indices`.
        reader: `decord` is fast, and reliable only on files that `write_video` wrote: on others it
            seeks to wrong frames or hangs.

    Returns:
        (T, 3, H, W) uint8, one frame for each index or time.

    Raises:
        DataError: The file cannot be decoded, or has no such frame.
    """
    if indices is not None and times_s is not None:
        raise ValueError("read_frames takes indices or times_s, not both.")
    if reader == "av":
        return torch.stack(list(stream_frames(path, times_s=times_s, indices=indices)))
    if decord is None:
        raise ValueError("decord cannot be imported here; use reader='av'.")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path} does not exist.")
    try:
        return _read_with_decord(path, indices, times_s)
    except (decord.DECORDError, RuntimeError):
        raise DataError(f"{path} cannot be decoded as a video by decord.") from None


def read_clip(path: str | os.PathLike[str], indices: Sequence[int]) -> Tensor:
    """Read frames of a clip that `write_video` wrote, by the fastest reader there is.

    Raises:
        DataError: The file cannot be decoded, or has no such frame.
    """
    if decord is not None and os.path.isfile(path):
        try:
            return _read_with_decord(path, indices, None)
        except (decord.DECORDError, RuntimeError):
            pass  # PyAV reads more, and says what is wrong
    return read_frames(path, indices)


def stream_frames(
    path: str | os.PathLike[str],
    times_s: Sequence[float] | NDArray[Any] | None = None,
    indices: Sequence[int] | None = None,
    size: tuple[int, int] | None = None,
    info: VideoInfo | None = None,
) -> Iterator[Tensor]:
    """Decode frames one after the other, strictly: damage raises.

    Args:
        path: Any video.
        times_s: Seconds from the first frame, any order; the nearest frame is taken.
        indices: Frame numbers; neither this nor `times_s` means every frame.
        size: (height, width) to scale to while converting to RGB (area averaging).
        info: Result of `probe` for the file, so that its packets are not read twice.

    Yields:
        (3, H, W) uint8 in the order requested. Frames out of order are held until their turn.

    Raises:
        DataError: Damage before the last wanted frame, or no such frame.
    """
    info = info or probe(path)
    if times_s is not None:
        indices = nearest_frames(info.timestamps_s, times_s).tolist()
    order = _checked(path, range(info.frames) if indices is None else indices, info.frames)
    if not order:
        return
    held: dict[int, Tensor] = {}
    last_use = {index: position for position, index in enumerate(order)}
    decoded = _decode(path, info, frozenset(order), size)
    for position, index in enumerate(order):
        while index not in held:
            try:
                found, frame = next(decoded)
            except StopIteration:
                raise DataError(
                    f"{path} ends early: frame {index} of {info.frames} cannot be decoded."
                ) from None
            held[found] = frame
        yield held[index]
        if last_use[index] == position:
            del held[index]


def nearest_frames(
    timestamps_s: NDArray[Any], times_s: Sequence[float] | NDArray[Any]
) -> NDArray[np.int64]:
    """For each wanted time the index of the frame shown nearest to it (ties: the earlier).

    Args:
        timestamps_s: (N,) ascending frame times.
        times_s: (T,) wanted times, the same clock.
    """
    wanted = np.asarray(times_s, dtype=np.float64)
    middles = (timestamps_s[1:] + timestamps_s[:-1]) / 2
    # Time stamps are rounded to the container's clock: a microsecond decides no tie.
    return np.searchsorted(middles, wanted - 1e-6, side="left").astype(np.int64)


def _read_with_decord(
    path: str | os.PathLike[str],
    indices: Sequence[int] | None,
    times_s: Sequence[float] | NDArray[Any] | None,
) -> Tensor:
    decord.logging.set_level(decord.logging.QUIET)
    # An absolute path: FFmpeg would take the part before a colon for a protocol.
    video = decord.VideoReader(os.path.abspath(path), num_threads=1)
    count = len(video)
    if times_s is not None:
        starts = video.get_frame_timestamp(range(count))[:, 0].astype(np.float64)
        indices = nearest_frames(starts - starts[0], times_s).tolist()
    order = _checked(path, range(count) if indices is None else indices, count)
    frames = torch.from_numpy(video.get_batch(order).asnumpy())
    return frames.permute(0, 3, 1, 2).contiguous()


def _checked(path: str | os.PathLike[str], indices: Sequence[int], count: int) -> list[int]:
    order = [int(index) for index in indices]
    for index in order:
        if not 0 <= index < count:
            raise DataError(f"{path} has {count} frames, so frame {index} does not exist.")
    return order


def _decode(
    path: str | os.PathLike[str],
    info: VideoInfo,
    wanted: frozenset[int],
    size: tuple[int, int] | None,
) -> Iterator[tuple[int, Tensor]]:
    """Yield pairs of frame number and (3, H, W) uint8 frame for the wanted numbers, ascending."""
    first = int(info.pts[min(wanted)])
    reformatter = VideoReformatter()
    for seeking in (True, False) if info.pts_reliable and min(wanted) > 0 else (False,):
        with opened(path) as container:
            stream = video_stream(container, path)
            stream.codec_context.options = {"err_detect": "explode"}
            start: int | None = None
            if info.pts_reliable:
                stream.thread_type, start = "AUTO", int(info.pts[0])
            frames = decoded_frames(container, stream, start, seeking)
            if seeking:
                try:
                    container.seek(first, stream=stream, backward=True)
                    head = next(frames, None)
                except av.FFmpegError:  # not every container can seek
                    continue
                if head is None or head.pts is None or head.pts > first:
                    continue  # behind the wanted frame: read from the start
                frames = chain([head], frames)
            for number, frame in _numbered(frames, info, max(wanted)):
                if number in wanted:
                    if frame.is_corrupt:
                        raise DataError(f"{path} is damaged at frame {number} of {info.frames}.")
                    yield number, _to_rgb(frame, reformatter, size)
            return


def _numbered(frames: Iterator[Any], info: VideoInfo, last: int) -> Iterator[tuple[int, Any]]:
    """Yield frames up to number `last` with their numbers in display order."""
    number_of = {int(value): number for number, value in enumerate(info.pts)}
    for counted, frame in enumerate(frames):
        # Decoders give frames in display order whatever their time stamps say.
        number = number_of.get(frame.pts) if info.pts_reliable else counted
        if number is not None:
            yield number, frame
        elif frame.pts is not None and frame.pts > info.pts[last]:
            return
        if number is not None and number >= last:
            return


def _to_rgb(frame: Any, reformatter: Any, size: tuple[int, int] | None) -> Tensor:
    turns = round(frame.rotation / 90) % 4  # counter-clockwise
    height, width = size or (None, None)
    if turns % 2:
        height, width = width, height
    kind = "BICUBIC" if size is None else "AREA"
    rgb = reformatter.reformat(
        frame, width=width, height=height, format="rgb24", interpolation=kind
    ).to_ndarray()
    return torch.from_numpy(np.ascontiguousarray(np.rot90(rgb, turns))).permute(2, 0, 1).clone()
