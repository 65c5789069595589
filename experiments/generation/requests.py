"""Options of a dance to generate, the same on the command line and as columns of a list."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.errors import SettingsError

if TYPE_CHECKING:
    from lightning_modules.pipeline import Dance, DanceRequest


@dataclass(frozen=True)
class Number:
    """The numbers that an option accepts: from ``low`` (or above it, if ``above``) to ``high``."""

    kind: type[int] | type[float] = float
    low: float = 0
    high: float = math.inf
    above: bool = False


NUMBERS = {
    "seconds": Number(above=True),
    "start": Number(),
    "steps": Number(int, above=True),
    "guidance_scale": Number(),
    "image_guidance_scale": Number(),
    "tempo": Number(above=True),
    "person_height": Number(above=True),
    "seed": Number(int, -(2**63), 2**64 - 1),  # what torch.Generator accepts
}
#: Options that are paths of files to read.
FILES = ("image", "song", "beats", "mask", "background")
#: Arguments of `DanceRequest` and of `DabFusionPipeline.batch` by option.
_REQUEST = {
    "image": "image", "song": "music", "start": "start_s", "tempo": "tempo_bpm",
    "beats": "beat_file", "seed": "generator", "mask": "mask", "background": "background",
    "person_height": "person_height",
}  # fmt: skip
_SAMPLING = {
    "seconds": "seconds", "steps": "num_inference_steps", "solver": "solver",
    "guidance_scale": "guidance_scale", "image_guidance_scale": "image_guidance_scale",
}  # fmt: skip


def check_number(label: str, name: str, value: int | float) -> None:
    """Refuse a number outside the range of its option.

    Args:
        label: How the error names the option.
        name: A key of `NUMBERS`, or another option that has to be above 0.
        value: The number.

    Raises:
        SettingsError: It is out of range.
    """
    number = NUMBERS.get(name, Number(above=name != "threads"))
    if value < number.low or (number.above and value == number.low):
        need = "above" if number.above else "at least"
        raise SettingsError(f"{label} is {value}, but must be {need} {number.low:g}.")
    if value > number.high:
        raise SettingsError(f"{label} is {value}, but must be at most {number.high}.")


def read_number(name: str, value: Any) -> int | float:
    """Convert and check the value of a numeric column.

    Args:
        name: A key of `NUMBERS`.
        value: A number or its text. Spreadsheets write whole numbers as 3.0, so this is 3.

    Raises:
        SettingsError: It is not a number, not a whole one where one is needed, or out of range.
    """
    kind = NUMBERS[name].kind
    read: int | float = math.nan
    with suppress(TypeError, ValueError, OverflowError):
        read = math.nan if isinstance(value, bool) else float(value)
        if kind is int and read.is_integer():
            # Integers are read as such where possible: floats are not exact above 2 ** 53.
            text = str(value).strip()
            read = int(text) if re.fullmatch(r"[+-]?[0-9]+", text) else int(read)
    if not math.isfinite(read) or (kind is int and not isinstance(read, int)):
        need = "a whole number" if kind is int else "a number"
        raise SettingsError(f"{name} is {str(value)[:40]!r}, but must be {need}.")
    check_number(name, name, read)
    return read


def build_request(options: Mapping[str, Any]) -> DanceRequest:
    """Build the request of a dance from its options; those that are None are left out."""
    from lightning_modules.pipeline import DanceRequest

    chosen = {_REQUEST[k]: v for k, v in options.items() if k in _REQUEST and v is not None}
    return DanceRequest(**chosen)


def sampling_arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of `DabFusionPipeline.batch` that options set."""
    return {_SAMPLING[k]: v for k, v in options.items() if k in _SAMPLING and v is not None}


def finish(dance: Dance, out: Path, options: Mapping[str, Any], note: str = "") -> Dance:
    """Mark the beats if requested, write the video, and print a sentence about it.

    Args:
        dance: The dance.
        out: The mp4 to write.
        options: Its options; ``beat_ticks`` among them.
        note: A sentence to add to the description in the video's metadata.

    Returns:
        The dance as written.
    """
    from experiments.generation.load import draw_beat_ticks

    if options.get("beat_ticks"):
        dance = draw_beat_ticks(dance)
    shorter = too_short(dance, options.get("seconds"))
    text = f"{dance.seconds:.1f} s, {len(dance.beats)} beats in the music{shorter}."
    dance.save(out, f"{text} {note}".strip())
    print(f"{out}: {text}", file=sys.stderr)
    return dance


def too_short(dance: Dance, seconds: float | None) -> str:
    """Return ``, although N s were requested: the song ends there`` if a dance is shorter."""
    if seconds is None or dance.seconds > seconds - 1 / dance.fps:
        return ""
    return f", although {seconds:g} s were requested: the song ends there"
