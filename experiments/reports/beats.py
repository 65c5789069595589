"""Beats of the music under a sample, from the prepared folder that its run was trained on."""

import re
from functools import lru_cache
from pathlib import Path

#: Longest sample whose beats are marked, seconds.
LONGEST_S = 60.0


class MusicBeats:
    """Beats by clip id (``NAME`` or ``NAME@START``, the window's first frame).

    Args:
        data: Prepared folder; None, or one that is gone, knows no beats.
    """

    def __init__(self, data: Path | None) -> None:
        self._data = data

    def of(self, clip: str) -> tuple[float, ...]:
        """Seconds from the clip's first frame; empty where nothing is known."""
        if self._data is None or not (self._data / "index.parquet").is_file():
            return ()
        fps, beats = _read(self._data)
        named = re.fullmatch(r"(.+?)@(\d+)m?", clip)
        name, start = (named[1], int(named[2]) / fps) if named else (clip, 0.0)
        return tuple(
            round(beat - start, 4) for beat in beats.get(name, ()) if 0 <= beat - start < LONGEST_S
        )


@lru_cache(maxsize=8)
def _read(data: Path) -> tuple[float, dict[str, tuple[float, ...]]]:
    from datamodules.index import read_index

    index = read_index(data)
    beats = zip(index.names, index.beats(), strict=True)
    return index.settings.fps, {name: tuple(of) if of is not None else () for name, of in beats}
