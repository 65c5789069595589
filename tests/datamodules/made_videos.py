"""Videos with properties that `write_video` never gives: odd clocks, formats, rotations, no index.

Frames carry their time as twelve black or white blocks (milliseconds in binary), so that a test can
read from a picture when it was meant to be shown.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

CLOCK_BITS = 14


def clock_frame(time_s: float, height: int = 48, width: int = 112) -> NDArray[np.uint8]:
    """(H, W, 3): the upper half shows the milliseconds in binary, the lower half a color."""
    frame = np.full((height, width, 3), (40, 90, 160), dtype=np.uint8)
    block = width // CLOCK_BITS
    for bit in range(CLOCK_BITS):
        on = round(time_s * 1000) >> bit & 1
        frame[: height // 2, bit * block : (bit + 1) * block] = 255 * on
    return frame


def read_clock(frame: Tensor) -> float:
    """The time (s) that a (3, H, W) frame shows."""
    upper = frame[:, : frame.shape[1] // 2].float().mean((0, 1))
    blocks = upper[: len(upper) // CLOCK_BITS * CLOCK_BITS].reshape(CLOCK_BITS, -1).mean(1)
    return sum((1 << bit) for bit in range(CLOCK_BITS) if blocks[bit] > 128) / 1000


def encode(
    path: Path,
    frames: list[NDArray[np.uint8]],
    times_s: list[float] | None = None,
    fps: int = 10,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    sound: NDArray[np.float32] | None = None,
    sound_codec: str = "aac",
    sound_rate: int = 44100,
    sound_format: str = "fltp",
) -> Path:
    """Encode (H, W, 3) frames at given times; the container follows the path's suffix."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.options = {"preset": "ultrafast", "crf": "10"} if options is None else options
        tick = Fraction(1, fps) if path.suffix == ".avi" and not times_s else Fraction(1, 1000)
        stream.codec_context.time_base = tick
        track = None
        if sound is not None:
            track = container.add_stream(sound_codec, rate=sound_rate)
            track.layout = "mono"
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pix_fmt)
            picture.pts = round((number / fps if times_s is None else times_s[number]) / tick)
            picture.time_base = tick
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        if track is not None and sound is not None:
            samples = sound if sound_format != "s16" else (sound * 32767).astype(np.int16)
            piece = av.AudioFrame.from_ndarray(samples[None], format=sound_format, layout="mono")
            piece.rate, piece.pts = sound_rate, 0
            container.mux(track.encode(piece))
            container.mux(track.encode(None))
    return path


def encode_song(path: Path, sound: NDArray[np.float32], codec: str, rate: int = 44100) -> Path:
    """Encode (S,) mono sound; the container follows the path's suffix."""
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=rate)
        track.layout = "mono"
        piece = av.AudioFrame.from_ndarray(
            (sound * 32767).astype(np.int16)[None], format="s16", layout="mono"
        )
        piece.rate, piece.pts = rate, 0
        container.mux(track.encode(piece))
        container.mux(track.encode(None))
    return path


def rotate_header(path: Path, degrees: int) -> Path:
    """Write a display rotation (clockwise) into an mp4's track header."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4
    assert content[at] == 0, "version 0 header expected"
    one = 0x10000
    matrices = {
        90: (0, one, -one, 0),
        180: (-one, 0, 0, -one),
        270: (0, -one, one, 0),
    }
    a, b, c, d = matrices[degrees]
    matrix = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    content[at + 40 : at + 76] = matrix
    path.write_bytes(bytes(content))
    return path
