"""Five hundred videos that went wrong, or are merely unusual, each a function of its number.

`mutate(number, folder)` writes one file. Unusual files must be read exactly; damaged ones must be
refused with a reason or read exactly. Their frames carry their time (see `made_videos`), so that
a wrong frame is known from the picture alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from made_videos import clock_frame, encode, encode_song, rotate_header

FRAMES = 24
RATE = 44100


@dataclass(frozen=True)
class Mutated:
    """A file and what may be expected of it."""

    path: Path
    kind: str
    times_s: tuple[float, ...]
    """When the frames of the undamaged file are shown."""
    damaged: bool
    """Refusal is allowed."""
    rotation: int = 0
    sound: bool = True


def mutate(number: int, folder: Path) -> Mutated:
    """Write mutation `number` into a folder."""
    rng = np.random.default_rng([3, number])
    kinds = [*_DAMAGES, *_ODDITIES]
    kind = kinds[number % len(kinds)]
    if kind in _ODDITIES:
        return _ODDITIES[kind](rng, folder / f"{number:03d}")
    suffix = str(rng.choice(["mp4", "mp4", "mp4", "mkv", "avi"]))
    content = bytearray(_whole(suffix))
    _DAMAGES[kind](rng, content)
    path = folder / f"{number:03d}.{suffix}"
    path.write_bytes(content)
    return Mutated(path, kind, _regular(), damaged=True)


def _regular(fps: float = 10.0, count: int = FRAMES) -> tuple[float, ...]:
    return tuple(k / fps for k in range(count))


def _sound(seconds: float = FRAMES / 10, rate: int = RATE) -> np.ndarray:
    """A tone with a click every half second."""
    time = np.arange(round(seconds * rate)) / rate
    tone = 0.2 * np.sin(2 * np.pi * 330 * time)
    return (tone + 0.7 * (time % 0.5 < 0.004)).astype(np.float32)


@cache
def _whole(suffix: str) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"whole.{suffix}"
        codecs = {
            "mp4": ("libx264", "aac"),
            "mkv": ("libx264", "flac"),
            "avi": ("mpeg4", "pcm_s16le"),
        }
        codec, sound_codec = codecs[suffix]
        options = {"g": "8", "crf": "10", "preset": "ultrafast"} if codec == "libx264" else {}
        encode(
            path,
            [clock_frame(t) for t in _regular()],
            codec=codec,
            options=options,
            sound=_sound(),
            sound_codec=sound_codec,
            sound_format="fltp" if sound_codec == "aac" else "s16",
        )
        return path.read_bytes()


def _flip(rng: np.random.Generator, content: bytearray, low: float, high: float, most: int) -> None:
    for place in rng.integers(
        int(low * len(content)), int(high * len(content)), rng.integers(1, most)
    ):
        content[place] ^= 1 << int(rng.integers(8))


def _zero(rng: np.random.Generator, content: bytearray) -> None:
    start = int(rng.integers(len(content)))
    stop = min(len(content), start + int(rng.integers(1, len(content) // 4)))
    content[start:stop] = bytes(stop - start)


def _cut(rng: np.random.Generator, content: bytearray) -> None:
    del content[int(rng.integers(len(content))) :]


def _cut_tail(rng: np.random.Generator, content: bytearray) -> None:
    del content[-int(rng.integers(1, 2000)) :]


def _zero_tail(rng: np.random.Generator, content: bytearray) -> None:
    """As a download that reserved its space and stopped."""
    start = int(rng.integers(len(content)))
    content[start:] = bytes(len(content) - start)


def _remove(rng: np.random.Generator, content: bytearray) -> None:
    start = int(rng.integers(len(content)))
    del content[start : start + int(rng.integers(1, 3000))]


def _insert(rng: np.random.Generator, content: bytearray) -> None:
    start = int(rng.integers(len(content)))
    content[start:start] = rng.bytes(int(rng.integers(1, 1000)))


def _swap(rng: np.random.Generator, content: bytearray) -> None:
    length = len(content) // 5
    a, b = sorted(int(x) for x in rng.integers(0, len(content) - length, 2))
    content[a : a + length], content[b : b + length] = (
        content[b : b + length],
        content[a : a + length],
    )


def _noise(rng: np.random.Generator, content: bytearray) -> None:
    start = int(rng.integers(len(content)))
    stop = min(len(content), start + int(rng.integers(1, 5000)))
    content[start:stop] = rng.bytes(stop - start)


def _all_noise(rng: np.random.Generator, content: bytearray) -> None:
    keep = int(rng.integers(0, 64))
    content[keep:] = rng.bytes(len(content) - keep)


def _empty(rng: np.random.Generator, content: bytearray) -> None:
    del content[int(rng.integers(0, 16)) :]


_DAMAGES: dict[str, Callable[[np.random.Generator, bytearray], None]] = {
    "one bit": lambda rng, content: _flip(rng, content, 0, 1, 2),
    "bits": lambda rng, content: _flip(rng, content, 0, 1, 40),
    "bits in front": lambda rng, content: _flip(rng, content, 0, 0.05, 10),
    "bits at the end": lambda rng, content: _flip(rng, content, 0.9, 1, 10),
    "many bits": lambda rng, content: _flip(rng, content, 0, 1, 2000),
    "zero bytes": _zero,
    "truncated": _cut,
    "tail cut": _cut_tail,
    "tail zero": _zero_tail,
    "bytes removed": _remove,
    "bytes inserted": _insert,
    "blocks swapped": _swap,
    "noise": _noise,
    "all noise": _all_noise,
    "empty": _empty,
}


SONG_S = 3.0


@cache
def _song(suffix: str) -> bytes:
    codecs = {"wav": "pcm_s16le", "flac": "flac", "mp3": "mp3", "m4a": "aac", "aiff": "pcm_s16be"}
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"song.{suffix}"
        encode_song(path, _sound(SONG_S), codecs[suffix])
        return path.read_bytes()


def mutate_song(number: int, folder: Path) -> Path:
    """Write damaged song `number` into a folder."""
    rng = np.random.default_rng([5, number])
    suffix = ["wav", "flac", "mp3", "m4a", "aiff"][number % 5]
    content = bytearray(_song(suffix))
    damages = list(_DAMAGES.values())
    damages[number % len(damages)](rng, content)
    path = folder / f"song{number:03d}.{suffix}"
    path.write_bytes(content)
    return path


def _wrong_extension(rng: np.random.Generator, stem: Path) -> Mutated:
    inside, outside = rng.permutation(["mp4", "mkv", "avi"])[:2]
    path = stem.with_suffix(f".{outside}")
    path.write_bytes(_whole(str(inside)))
    return Mutated(path, "wrong extension", _regular(), damaged=False)


def _one_frame(rng: np.random.Generator, stem: Path) -> Mutated:
    path = encode(stem.with_suffix(".mp4"), [clock_frame(0.0)], sound=_sound(0.1))
    return Mutated(path, "one frame", (0.0,), damaged=False)


def _no_sound(rng: np.random.Generator, stem: Path) -> Mutated:
    path = encode(stem.with_suffix(".mp4"), [clock_frame(t) for t in _regular()])
    return Mutated(path, "no sound", _regular(), damaged=False, sound=False)


def _odd_size(rng: np.random.Generator, stem: Path) -> Mutated:
    height, width = 31 + 2 * int(rng.integers(0, 20)), 113 + 2 * int(rng.integers(0, 20))
    frames = [clock_frame(t, height, width) for t in _regular()]
    path = encode(stem.with_suffix(".mp4"), frames, pix_fmt="yuv444p", sound=_sound())
    return Mutated(path, "odd size", _regular(), damaged=False)


def _variable_rate(rng: np.random.Generator, stem: Path) -> Mutated:
    times = np.cumsum(rng.uniform(0.01, 0.19, FRAMES)).round(3)
    times = tuple((times - times[0]).tolist())
    frames = [clock_frame(t) for t in times]
    sound = _sound(times[-1] + 0.1)
    path = encode(stem.with_suffix(".mp4"), frames, list(times), fps=60, sound=sound)
    return Mutated(path, "variable rate", times, damaged=False)


def _rotated(rng: np.random.Generator, stem: Path) -> Mutated:
    degrees = int(rng.choice([90, 180, 270]))
    frames = [clock_frame(t) for t in _regular()]
    path = rotate_header(encode(stem.with_suffix(".mp4"), frames, sound=_sound()), degrees)
    return Mutated(path, "rotated", _regular(), damaged=False, rotation=degrees)


def _chroma(rng: np.random.Generator, stem: Path) -> Mutated:
    pix_fmt = str(rng.choice(["yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le"]))
    frames = [clock_frame(t) for t in _regular()]
    path = encode(stem.with_suffix(".mp4"), frames, pix_fmt=pix_fmt, sound=_sound())
    return Mutated(path, "chroma", _regular(), damaged=False)


def _wild_sound(rng: np.random.Generator, stem: Path) -> Mutated:
    sound = _sound()
    wild = rng.random(len(sound)) < 0.01
    sound[wild] = rng.choice([np.nan, np.inf, -np.inf, 1e30], int(wild.sum()))
    frames = [clock_frame(t) for t in _regular()]
    path = stem.with_suffix(".mkv")
    encode(path, frames, sound=sound, sound_codec="pcm_f32le", sound_format="flt")
    return Mutated(path, "NaN in the sound", _regular(), damaged=False)


def _sound_rate(rng: np.random.Generator, stem: Path) -> Mutated:
    rate = int(rng.choice([8000, 11025, 22050, 48000, 96000]))
    frames = [clock_frame(t) for t in _regular()]
    sound = _sound(float(rng.uniform(1.0, 4.0)), rate)
    path = encode(stem.with_suffix(".mkv"), frames, sound=sound, sound_rate=rate)
    return Mutated(path, "sound of another length and rate", _regular(), damaged=False)


def _rate(rng: np.random.Generator, stem: Path) -> Mutated:
    fps = int(rng.choice([2, 5, 12, 24, 50, 60]))
    frames = [clock_frame(t) for t in _regular(fps)]
    path = encode(stem.with_suffix(".mp4"), frames, fps=fps, sound=_sound(FRAMES / fps))
    return Mutated(path, "frame rate", _regular(fps), damaged=False)


def _codec(rng: np.random.Generator, stem: Path) -> Mutated:
    suffix, codec, pix_fmt, sound_codec = [
        ("avi", "mjpeg", "yuvj420p", "pcm_s16le"),
        ("mkv", "ffv1", "yuv420p", "aac"),
        ("ts", "libx264", "yuv420p", "aac"),
        ("mov", "mpeg4", "yuv420p", "aac"),
    ][int(rng.integers(4))]
    frames = [clock_frame(t) for t in _regular(25)]
    options = None if codec == "libx264" else {"qmin": "1", "qmax": "3"}
    path = stem.with_suffix(f".{suffix}")
    sound = _sound(FRAMES / 25)
    encode(
        path,
        frames,
        fps=25,
        codec=codec,
        pix_fmt=pix_fmt,
        options=options,
        sound=sound,
        sound_codec=sound_codec,
        sound_format="fltp" if sound_codec == "aac" else "s16",
    )
    return Mutated(path, f"{codec} in {suffix}", _regular(25), damaged=False)


_ODDITIES: dict[str, Callable[[np.random.Generator, Path], Mutated]] = {
    "wrong extension": _wrong_extension,
    "one frame": _one_frame,
    "no sound": _no_sound,
    "odd size": _odd_size,
    "variable rate": _variable_rate,
    "rotated": _rotated,
    "chroma": _chroma,
    "wild sound": _wild_sound,
    "sound rate": _sound_rate,
    "frame rate": _rate,
    "codec": _codec,
}
