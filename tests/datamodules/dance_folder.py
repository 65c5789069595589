"""Folders of tiny videos for preparing: each frame shows its time, each beat is a click.

The picture is a clock (see `made_videos`), so a test can read off a prepared frame when it was
filmed, and hold it against the clicks in the sound.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from made_videos import clock_frame, encode, read_clock
from numpy.typing import NDArray
from torch import Tensor

from datamodules.aist_names import tempo_of

RATE = 44_100
SIZE = 112
"""Clips of this size hold the clock's picture at its own scale."""
TOP = 32
"""First row of the clock's picture in such a clip."""

TRAIN = (
    "gBR_sBM_c01_d04_mBR1_ch03",
    "gBR_sBM_c02_d04_mBR1_ch03",
    "gPO_sFM_c01_d10_mPO2_ch11",
    "gHO_sBM_c05_d20_mHO3_ch10",
    "gLO_sBM_c01_d13_mLO4_ch05",
)
VAL = ("gBR_sBM_c01_d05_mBR0_ch01", "gPO_sBM_c01_d11_mPO1_ch01")
TEST = ("gBR_sBM_c01_d06_mBR0_ch02", "gPO_sBM_c01_d12_mPO1_ch02")


def clicks(beats_s: NDArray[np.float64], seconds: float) -> NDArray[np.float32]:
    """(S,) sound with a short decaying tone on each beat."""
    sound = np.zeros(round(seconds * RATE), dtype=np.float32)
    tone = np.exp(-np.arange(1600) / 250.0) * np.sin(np.arange(1600) * 0.21)
    for beat in beats_s:
        first = round(beat * RATE)
        length = min(len(tone), len(sound) - first)
        if length > 0:
            sound[first : first + length] += tone[:length].astype(np.float32)
    return sound * 0.8


def beats_of(music: str, seconds: float, start: float = 0.2) -> NDArray[np.float64]:
    """Beats of a piece at the tempo its name promises."""
    return np.arange(start, seconds - 0.02, 60.0 / tempo_of(music))


def write_dance(
    path: Path, music: str = "mBR4", seconds: float = 4.0, fps: int = 10, shade: int = 0
) -> Path:
    """One video of a clock, over a strip of some shade, with the clicks of a piece."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = [clock_frame(k / fps) for k in range(round(seconds * fps))]
    for frame in frames:
        frame[-8:] = shade
    return encode(path, frames, fps=fps, sound=clicks(beats_of(music, seconds), seconds))


def write_folder(folder: Path, names: tuple[str, ...] = TRAIN + VAL + TEST) -> Path:
    """A folder of dances with AIST names; every video has frames of its own."""
    for number, name in enumerate(names):
        seconds = 4.0 + 0.1 * (number % 3)
        write_dance(folder / f"{name}.mp4", name.split("_")[4], seconds, shade=20 * number)
    return folder


def shown_time(frame: Tensor) -> float:
    """The second that a prepared (3, SIZE, SIZE) frame shows."""
    return read_clock(frame[:, TOP : TOP + 48])
