"""Options of a dance to generate, the same on the command line and as columns of a list."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import SettingsError


@dataclass(frozen=True)
class Option:
    """A file to read, a text, or a number from `low` (or above it, if `above`) to `high`."""

    argument: str
    """Argument of `DanceRequest` or of `DabFusionPipeline.batch`."""
    kind: type = Path
    help: str = ""
    low: float = 0
    high: float = math.inf
    above: bool = False
    choices: tuple[str, ...] | None = None

    @property
    def is_number(self) -> bool:
        """Whether it is a number."""
        return self.kind in (int, float)

    def check(self, label: str, value: float) -> None:
        """Raise a SettingsError that begins with `label` if a number is out of range."""
        if value < self.low or (self.above and value == self.low):
            need = f"above {self.low:g}" if self.above else f"at least {self.low:g}"
            raise SettingsError(f"{label} is {value}, but must be {need}.")
        if value > self.high:
            raise SettingsError(f"{label} is {value}, but must be at most {self.high}.")


_BACKGROUND = "image, or prepared folder to take it from"
OPTIONS = {
    "image": Option("image"),
    "song": Option("music"),
    "seconds": Option("seconds", float, "length of the video (to the end of the song)", above=True),
    "start": Option("start_s", float, "second of the song to start at (0)"),
    # The range of seeds is what torch.Generator accepts.
    "seed": Option("generator", int, "seed of the noise (0)", low=-(2**63), high=2**64 - 1),
    "steps": Option("num_inference_steps", int, "denoising steps (the model's own)", above=True),
    "solver": Option("solver", str, "(the model's own)", choices=("ddim", "dpm++", "unipc")),
    "guidance_scale": Option("guidance_scale", float, "weight of the music; 0 ignores it"),
    "image_guidance_scale": Option("image_guidance_scale", float, "weight of the image"),
    "tempo": Option("tempo_bpm", float, "beats per minute of the song, if known", above=True),
    "beats": Option("beat_file", help="file with the beats of the song in seconds"),
    "mask": Option("mask", help="image that is white on the person"),
    "background": Option("background", help=_BACKGROUND),
    "person_height": Option("person_height", float, "fraction of the frame's height", above=True),
}
#: Options of cutting out the person, which have a group of their own in the help.
CUT_OUT = ("mask", "background", "person_height")
#: Image formats of `--sheet` by suffix.
SHEETS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".gif": "GIF"}


def read_number(name: str, value: Any) -> int | float:
    """Return the number of a column; spreadsheets write whole numbers as 3.0, so this is 3."""
    option = OPTIONS[name]
    whole = option.kind is int
    number: int | float = math.nan
    with suppress(TypeError, ValueError, OverflowError):
        number = math.nan if isinstance(value, bool) else float(value)
        if whole and number.is_integer():
            # Integers are read as such where possible: floats are not exact above 2 ** 53.
            text = str(value).strip()
            number = int(text) if re.fullmatch(r"[+-]?[0-9]+", text) else int(number)
    if not math.isfinite(number) or (whole and not isinstance(number, int)):
        need = "a whole number" if whole else "a number"
        raise SettingsError(f"{name} is {str(value)[:40]!r}, but must be {need}.")
    option.check(name, number)
    return number
