"""Metrics for music-driven dance video: torchmetrics classes over plain formulas.

`metrics.functional` holds the formulas, tensors in and tensors out; the classes here only
accumulate. Names are loaded on first use, so `import metrics` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metrics.motion_music_alignment import MotionMusicAlignment2D as MotionMusicAlignment2D

#: Version of the definitions: it changes whenever a score of the same clips would.
VERSION = 1

_HOMES = {
    "MotionMusicAlignment2D": "motion_music_alignment",
}

__all__ = ["VERSION", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"metrics.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'metrics' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "functional"]
