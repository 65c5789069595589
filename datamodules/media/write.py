"""Write frames and sound to an mp4 that plays anywhere: H.264 in yuv420p, AAC, index in front."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.audio.resampler import AudioResampler
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from torch import Tensor

from datamodules.files import replacing
from datamodules.media.probe import media_url

#: Sampling rates (Hz) that every player takes; sound at other rates is resampled to 44,100.
_AAC_RATES = (16000, 22050, 24000, 32000, 44100, 48000)


def write_video(
    path: str | os.PathLike[str],
    frames: Tensor | NDArray[np.uint8] | Iterable[Tensor],
    fps: float,
    audio: NDArray[np.float32] | Tensor | None = None,
    sample_rate: int | None = None,
    crf: int = 17,
    keyframe_every: int = 12,
    speed: str = "veryfast",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write an mp4 atomically: under a temporary name, renamed when it is complete.

    Args:
        path: Where to; its folder is made.
        frames: (T, 3, H, W) uint8 RGB, or an iterable of (3, H, W). Odd sizes are padded by one
            repeated row or column, as yuv420p wants.
        fps: Frames per second, constant.
        audio: (S,) mono or (2, S) stereo in [-1, 1]; sample 0 sounds with frame 0.
        sample_rate: Hertz of `audio`.
        crf: x264's constant rate factor: 0 lossless, 17 hard to tell apart, 23 ordinary.
        keyframe_every: Frames between key frames; few mean fast random access.
        speed: x264's preset.
        metadata: Tags of the file, such as `comment` and `description`.
    """
    path = Path(path)
    if audio is not None and not sample_rate:
        raise ValueError("write_video needs the sample_rate of its audio.")
    sound = None if audio is None else _clean_audio(audio)
    with replacing(path, sync=False) as temporary, _named(path):
        options = {"movflags": "+faststart"}
        with av.open(media_url(temporary), "w", format="mp4", options=options) as container:
            container.metadata.update(metadata or {})
            images = iter(frames)
            first = next(images, None)
            if first is None:
                raise ValueError(f"No frames to write to {path}.")
            rate = Fraction(fps).limit_denominator(1001)
            video = container.add_stream("libx264", rate=rate)
            video.options = {"crf": str(crf), "preset": speed, "bf": "0", **_reproducible()}
            video.pix_fmt = "yuv420p"
            video.codec_context.gop_size = keyframe_every
            # What is written depends on their number, so it is not the machine's.
            video.codec_context.thread_count = 1 if first.shape[-1] < 640 else 4
            video.height, video.width = (side + side % 2 for side in first.shape[-2:])
            # Small videos without this tag are shown in other colors by some players.
            video.codec_context.colorspace = 5  # BT.601
            video.codec_context.color_range = 1  # 16 to 235
            track = (
                None if sound is None else _audio_stream(container, sound, int(sample_rate or 0))
            )
            reformatter = VideoReformatter()
            for frame in _chained(first, images):
                container.mux(video.encode(_av_frame(frame, reformatter)))
            container.mux(video.encode(None))
            if track is not None and sound is not None:
                _write_audio(container, track, sound, int(sample_rate or 0))


def _reproducible() -> dict[str, str]:
    """Options that make x264 write the same bytes for the same frames.

    With AVX-512, x264's macroblock tree works on eight blocks at a time without masking those
    beyond the end of a row (`mbtree_propagate_list`, x264 165): where a row is not a multiple of
    eight blocks, 128 pixels, the result depends on uninitialized memory. Its AVX2 code does not.
    """
    # Only on such a processor: x264 does not check that the instructions it is told to use exist.
    masked = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return {"x264-params": "asm=AVX2"} if masked else {}


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let FFmpeg's system errors name the file and not the temporary one."""
    try:
        yield
    except av.FFmpegError as error:
        if not isinstance(error, OSError):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _chained(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _av_frame(frame: Any, reformatter: Any) -> Any:
    rgb = np.asarray(frame).transpose(1, 2, 0)
    height, width = rgb.shape[:2]
    if height % 2 or width % 2:
        rgb = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    return reformatter.reformat(
        picture,
        format="yuv420p",
        dst_colorspace="ITU601",
        dst_color_range="MPEG",
        interpolation="BICUBIC",
    )


def _clean_audio(audio: NDArray[np.float32] | Tensor) -> NDArray[np.float32]:
    """(channels, S) float32 in [-1, 1]; values that are not numbers become silence."""
    sound = np.atleast_2d(np.asarray(audio, dtype=np.float32))
    if sound.ndim != 2 or sound.shape[0] > 2:
        raise ValueError(f"Audio has shape {sound.shape}; expected (S,) or (2, S).")
    return np.ascontiguousarray(np.clip(np.nan_to_num(sound), -1.0, 1.0))


def _audio_stream(container: Any, sound: NDArray[np.float32], sample_rate: int) -> Any:
    rate = sample_rate if sample_rate in _AAC_RATES else 44100
    track = container.add_stream("aac", rate=rate)
    track.layout = "mono" if sound.shape[0] == 1 else "stereo"
    # The default coder searches five times as long for nothing that a beat tracker or ear notices.
    track.options = {"aac_coder": "fast"}
    track.bit_rate = 128_000 if sound.shape[0] == 1 else 192_000
    return track


def _write_audio(container: Any, track: Any, sound: NDArray[np.float32], sample_rate: int) -> None:
    layout = "mono" if sound.shape[0] == 1 else "stereo"
    resampler = AudioResampler("fltp", layout, track.rate, frame_size=1024)
    frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout=layout)
    frame.rate, frame.pts, frame.time_base = sample_rate, 0, Fraction(1, sample_rate)
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(track.encode(piece))
    container.mux(track.encode(None))
