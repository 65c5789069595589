"""Options of rendered data, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from datamodules.options.checks import check_range


@dataclass
class SyntheticOptions:
    """How many dances are rendered, and what they look and sound like."""

    train_videos: int = 100
    """Training dances, by 89 people to 50 songs. 40 held-out dances (20 for validation and 20 for
    test, with other people and 10 other songs) are always added."""
    cameras: int = 1
    """Views of every dance, one video each: c01 from the front, c02 to c05 from the sides, c06 to
    c08 from behind, c09 from farther away."""
    seconds: float = 8.0
    """Length of every video in seconds."""
    fps: float = 10.0
    """Frames per second of every video."""
    size: int = 64
    """Height of the frames in pixels."""
    width: int = 0
    """Width of the frames in pixels; 0 for square frames."""
    routines: int = 6
    """Shared routines of four poses that all dances are composed of, at most 6; 0 makes up every
    pose, which takes much longer to learn."""
    rooms: Literal["varied", "stage"] = "varied"
    """Background: varied (a room for each person) or stage (the white stage of AIST)."""
    crf: int = 17
    """Quality of the stored videos as x264's constant rate factor (0 lossless, 23 ordinary)."""
    workers: int = 0
    """Rendering processes; 0 uses one per core."""

    def __post_init__(self) -> None:
        check_range(self, 1, 4000, "train_videos")
        check_range(self, 1, 9, "cameras")
        check_range(self, 0.5, 600, "seconds")
        check_range(self, 1, 240, "fps")
        check_range(self, 16, 4320, "size")
        check_range(self, 0, 6, "routines")
        check_range(self, 0, 51, "crf")
        check_range(self, 0, 1024, "workers")
        if self.width:
            check_range(self, 16, 8192, "width")
