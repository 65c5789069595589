"""Frames and sound out of media files; the only file that knows decord.

Time: 0 is the video's first frame, for its sound too. Frames are uint8 RGB, (T, 3, H, W).

Two readers give the same frames. decord is the fast one, for clips that this project wrote;
`stream_frames` goes through PyAV (FFmpeg) with strict error detection, for files from anywhere,
and holds one frame at a time whatever the length.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from av.audio.resampler import AudioResampler
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
from datamodules.media.probe import VideoInfo, opened, packet_times, probe, video_stream
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
    reader: Reader | None = None,
) -> Tensor:
    """Frames of a video by index, by time (the nearest frame), or all of them.

    Args:
        path: any video.
        indices: frame numbers in order of presentation, in any order, repeats allowed.
        times_s: seconds from the first frame; give this or `indices`.
        reader: None takes decord where it imports, else PyAV.

    Returns:
        (T, 3, H, W) uint8, one frame for each index or time.

    Raises:
        DataError: the file cannot be decoded, or has no such frame.
    """
    if indices is not None and times_s is not None:
        raise ValueError("read_frames takes indices or times_s, not both.")
    if reader == "decord" and decord is None:
        raise ValueError("decord does not import here; leave reader=None or ask for 'av'.")
    if decord is not None and reader != "av" and os.path.isfile(path):
        try:
            return _read_with_decord(path, indices, times_s)
        except (decord.DECORDError, RuntimeError):  # PyAV reads more, and says what is wrong
            if reader == "decord":
                raise DataError(f"{path} cannot be decoded as a video by decord.") from None
    wanted = times_s if times_s is not None else None
    return torch.stack(list(stream_frames(path, times_s=wanted, indices=indices)))


def stream_frames(
    path: str | os.PathLike[str],
    times_s: Sequence[float] | NDArray[Any] | None = None,
    indices: Sequence[int] | None = None,
    size: tuple[int, int] | None = None,
    info: VideoInfo | None = None,
) -> Iterator[Tensor]:
    """Frames one after the other, decoded by PyAV, strictly: damage raises.

    Args:
        path: any video.
        times_s: seconds from the first frame, any order; the nearest frame is taken.
        indices: frame numbers; neither this nor `times_s` means every frame.
        size: (height, width) to scale to while converting to RGB (area averaging).
        info: what `probe` said of the file, so that its packets are not read twice.

    Yields:
        (3, H, W) uint8 in the order asked for. Frames out of order are held until their turn.

    Raises:
        DataError: damage before the last wanted frame, or no such frame.
    """
    if info is not None:
        pts, timestamps_s = info.pts, info.timestamps_s
    else:
        pts, time_base = packet_times(path)
        timestamps_s = (pts - pts[0]) * time_base
    if times_s is not None:
        indices = nearest_frames(timestamps_s, times_s).tolist()
    order = _checked(path, range(len(pts)) if indices is None else indices, len(pts))
    if not order:
        return
    held: dict[int, Tensor] = {}
    last_use = {index: position for position, index in enumerate(order)}
    decoded = _decode(path, pts, min(order), max(order), frozenset(order), size)
    for position, index in enumerate(order):
        while index not in held:
            try:
                found, frame = next(decoded)
            except StopIteration:
                raise DataError(
                    f"{path} breaks off: frame {index} of {len(pts)} cannot be decoded."
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
    video = decord.VideoReader(str(path), num_threads=1)
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
            raise DataError(f"{path} has {count} frames, so there is no frame {index}.")
    return order


def _decode(
    path: str | os.PathLike[str],
    pts: NDArray[np.int64],
    first: int,
    last: int,
    wanted: frozenset[int],
    size: tuple[int, int] | None,
) -> Iterator[tuple[int, Tensor]]:
    """Pairs of frame number and (3, H, W) uint8 frame, for the wanted numbers, ascending."""
    number_of = {int(value): number for number, value in enumerate(pts)}
    with opened(path) as container:
        stream = video_stream(container, path)
        stream.thread_type = "AUTO"
        stream.codec_context.options = {"err_detect": "explode"}
        timed = stream.start_time is not None
        if timed and first > 0:
            container.seek(int(pts[first]), stream=stream, backward=True)
        reformatter = VideoReformatter()
        for counted, frame in enumerate(container.decode(stream)):
            number = number_of.get(frame.pts) if timed else counted
            if number is None or number not in wanted:
                if timed and frame.pts is not None and frame.pts > pts[last]:
                    return
                continue
            if frame.is_corrupt:
                raise DataError(f"{path} is damaged at frame {number} of {len(pts)}.")
            yield number, _to_rgb(frame, reformatter, size)
            if number >= last:
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


def read_audio(
    path: str | os.PathLike[str], sample_rate: int, mono: bool = True
) -> NDArray[np.float32]:
    """The sound of a song or a video, resampled; anything FFmpeg reads.

    Args:
        path: a sound file or a video. Of a video, sample 0 sounds with its first frame.
        sample_rate: hertz wanted.
        mono: mix down; else stereo.

    Returns:
        (S,) float32 in [-1, 1], or (2, S). Values that are not numbers come as silence.

    Raises:
        DataError: no sound in the file, or damage in it.
    """
    start = 0.0
    pieces: list[NDArray[Any]] = []
    with opened(path) as container:
        if not container.streams.audio:
            raise DataError(f"{path} has no sound; a song or a video with sound was expected.")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise DataError(f"{path} holds sound of a kind that FFmpeg cannot decode.")
        stream.codec_context.options = {"err_detect": "explode"}
        resampler = AudioResampler("fltp", "mono" if mono else "stereo", sample_rate)
        for frame in container.decode(stream):
            if not pieces and frame.time is not None:
                start = frame.time
            frame.pts = None  # gaps and wrong time stamps are not ours to repair
            pieces += [piece.to_ndarray() for piece in resampler.resample(frame)]
        pieces += [piece.to_ndarray() for piece in resampler.resample(None)] if pieces else []
        first_picture = _picture_start(container)
    if not pieces:
        raise DataError(f"{path} has a sound track without a single sample.")
    sound = np.concatenate(pieces, axis=1).astype(np.float32, copy=False)
    sound = np.nan_to_num(sound, posinf=0.0, neginf=0.0)
    # Of a song nothing is waited for: MP3 says it starts late by what its coder had added in front.
    late = min(start, 0.0) if first_picture is None else start - first_picture
    sound = _shifted(sound, round(late * sample_rate)).clip(-1.0, 1.0)
    return sound[0] if mono else sound


def _picture_start(container: Any) -> float | None:
    """When the first frame is shown (s, the container's clock); None where there is none but a
    cover picture."""
    for stream in container.streams.video:
        if stream.start_time is not None and (stream.frames != 1 or not stream.duration):
            return float(stream.start_time * stream.time_base)
    return None


def _shifted(sound: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    """Sound that starts `samples` after the picture, cut or padded to start with it."""
    if samples < 0:
        return sound[:, -samples:]
    return np.pad(sound, ((0, 0), (samples, 0)))
