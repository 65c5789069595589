"""Which clips a video gives: windows of T frames on a fixed grid, enumerated, never random.

Latent flow depends on a window's first frame and on mirroring and speed, so these are part of a
clip's id and cached features can be joined by it: `NAME@START`, `NAME@STARTm` mirrored,
`NAME@STARTx1.25` played a quarter faster (and then `m`). START counts the video's prepared frames.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import DataError
from datamodules.options.clips import SPEEDS, ClipOptions

CLIP_ID = re.compile(r"(?P<name>.+)@(?P<start>\d+)(?:x(?P<speed>[\d.]+))?(?P<mirror>m?)")


@dataclass(frozen=True)
class Window:
    """One clip of one video."""

    video: int
    """Row of the index."""
    start: int
    """First frame, counted at the prepared rate."""
    mirror: bool = False
    speed: float = 1.0
    """How much faster than filmed the clip plays, sound included."""


@dataclass(frozen=True)
class WindowRule:
    """How clips are cut."""

    frames: int
    """T: frames of a clip."""
    stride: int
    """Prepared frames between the starts of neighboring clips (at least, where cut on beats)."""
    fps: float
    """Frames a second of a clip; the prepared rate or less."""
    on_beat: bool = False
    """Start at the frames nearest to beats rather than on a grid."""
    mirror: bool = ClipOptions.mirror
    """Give each clip mirrored too."""
    speeds: tuple[float, ...] = SPEEDS
    """Give each clip at these speeds."""

    def __post_init__(self) -> None:
        if self.frames < 2 or self.stride < 1 or self.fps <= 0.0:
            raise DataError(
                f"Clips of {self.frames} frames at {self.fps:g} fps, one every {self.stride} "
                "frames, cannot be cut; at least 2 frames and a stride of 1 are needed."
            )
        if not self.speeds or not all(0.25 <= speed <= 4.0 for speed in self.speeds):
            raise DataError(f"Speeds must be between 0.25 and 4, but are {self.speeds}.")

    def offsets(self, prepared_fps: float, speed: float) -> NDArray[np.int64]:
        """(T,) prepared frames from a clip's first frame to each of its frames: the nearest in
        time, so that one second of video is one second of music (times `speed`)."""
        return np.floor(np.arange(self.frames) * prepared_fps / self.fps * speed + 0.5).astype(
            np.int64
        )


def cut(
    video: int,
    frames: int,
    beats_s: NDArray[np.float64],
    prepared_fps: float,
    rule: WindowRule,
) -> list[Window]:
    """The clips of one video, in order of start, speed, mirroring.

    A video shorter than a clip, but of half its length at least, gives one clip that is padded.

    Args:
        video: Its row.
        frames: Of the prepared video.
        beats_s: Its beats; used with `on_beat` only.
        prepared_fps: Of the prepared video.
        rule: How to cut.
    """
    windows = []
    mirrors = (False, True) if rule.mirror else (False,)
    for speed in rule.speeds:
        span = int(rule.offsets(prepared_fps, speed)[-1]) + 1
        last = frames - span
        if last < 0:
            starts = [0] if 2 * frames >= span else []
        elif rule.on_beat:
            starts = _on_beats(beats_s, prepared_fps, rule.stride, last)
        else:
            starts = list(range(0, last + 1, rule.stride))
        windows += [Window(video, start, mirror, speed) for start in starts for mirror in mirrors]
    return sorted(windows, key=lambda w: (w.start, w.speed, w.mirror))


def _on_beats(beats_s: NDArray[np.float64], fps: float, stride: int, last: int) -> list[int]:
    starts: list[int] = []
    for start in np.round(np.asarray(beats_s) * fps).astype(int).tolist():
        if 0 <= start <= last and (not starts or start >= starts[-1] + stride):
            starts.append(start)
    return starts


def clip_id(name: str, window: Window) -> str:
    """The id of a clip of the video `name`."""
    speed = "" if window.speed == 1.0 else f"x{window.speed:g}"
    return f"{name}@{window.start}{speed}{'m' if window.mirror else ''}"


def music_clip_id(name: str, window: Window) -> str:
    """The id under which features of a clip's sound are stored: mirroring does not change it."""
    return clip_id(name, Window(window.video, window.start, False, window.speed))


def parse_clip_id(text: str) -> tuple[str, Window]:
    """Video name and window (its row unknown: -1) of a clip id.

    Raises:
        DataError: The text is not a clip id.
    """
    match = CLIP_ID.fullmatch(text)
    if match is None:
        raise DataError(f"{text[:80]!r} is not a clip id such as gBR_sBM_c01_d04_mBR0_ch01@40.")
    speed = float(match["speed"]) if match["speed"] else 1.0
    return match["name"], Window(-1, int(match["start"]), bool(match["mirror"]), speed)


def spread(windows: Sequence[Window]) -> list[Window]:
    """Order clips by every video's first one, then every second one, ...: a short validation then
    covers many dancers."""
    seen: dict[int, int] = {}
    ranked = []
    for window in windows:
        rank = seen.get(window.video, 0)
        seen[window.video] = rank + 1
        ranked.append((rank, window))
    return [window for _, window in sorted(ranked, key=lambda pair: pair[0])]
