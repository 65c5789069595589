"""Settings of `dabfusion synthesize`: a data set of rendered dancers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class SyntheticSettings:
    """How many dances are rendered, and what they look and sound like."""

    train_videos: int = 100
    """Dances to learn from, by 89 persons to fifty pieces of music; 40 held-out dances (20 to
    validate and 20 to test on, other persons, ten other pieces) are always added."""
    cameras: int = 1
    """Views of every dance, each a video: c01 is the front, c02 to c05 turn to both sides, c06 to
    c08 stand behind, c09 is farther away."""
    seconds: float = 8.0
    """Length of every video."""
    fps: float = 10.0
    """Frames per second of every video."""
    size: int = 64
    """Height of the picture in pixels."""
    width: int = 0
    """Width of the picture in pixels; 0 for a square."""
    routines: int = 6
    """Shared routines of four poses that all dances are put together from, at most 6; 0 makes up
    every pose, which takes much longer to learn."""
    rooms: Literal["varied", "stage"] = "varied"
    """Where they dance: a room for each person, or the white stage that AIST films on."""
    crf: int = 17
    """Quality of the stored videos: x264's constant rate factor, 0 lossless, 23 ordinary."""
    workers: int = 0
    """Processes to render with; 0 takes one for each core."""

    def __post_init__(self) -> None:
        bounds: dict[str, tuple[float, float]] = {
            "train_videos": (1, 4000),
            "cameras": (1, 9),
            "seconds": (0.5, 600),
            "fps": (1, 240),
            "size": (16, 4320),
            "routines": (0, 6),
            "crf": (0, 51),
            "workers": (0, 1024),
        }
        for name, (least, most) in bounds.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(
                    f"synthetic.{name} is {value}, but must lie between {least} and {most}."
                )
        if self.width and not 16 <= self.width <= 8192:
            raise ValueError(
                f"synthetic.width is {self.width}, but must lie between 16 and 8192, or be 0."
            )
