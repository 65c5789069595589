"""Beats of prepared videos: tracked once on the longest sound of each piece, then placed.

The tracker reads the onset envelopes that the workers stored, so no sound is decoded twice, and
librosa is loaded in one process only, which tracks a piece once all its videos are prepared. The
position of a video in its piece is where the two envelopes correlate best; a video that does not
match (another take, another mix) is tracked itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from numpy.typing import NDArray
from scipy.signal import correlate

from datamodules.errors import DataError
from datamodules.media.audio import BeatTrack, read_beat_file, track_envelope
from datamodules.media.spectrum import ENVELOPE_RATE_HZ, SAMPLE_RATE, onset_envelope

MATCH = 0.6
"""Correlation of envelopes from which a video plays its piece; unrelated music stays below 0.4."""
_OVERLAP = 0.8  # share of the video's sound that must be inside the piece


@dataclass(frozen=True)
class BeatOptions:
    """Beats and whole pieces that the user gives, instead of tracked ones."""

    beat_files: Path | None = None
    """Folder of NAME.txt (seconds of that video) or MUSIC.txt (seconds of the piece)."""
    music: Path | None = None
    """Folder of whole pieces, MUSIC.mp3 or any other sound format."""


@dataclass(frozen=True)
class Placement:
    """Position of a video's sound in its piece of music."""

    offset_s: float
    """Second of the piece at the start of the video."""
    match: float
    """Correlation of the two onset envelopes there, -1 to 1."""


def with_beats(
    out: Path,
    rows: Sequence[Mapping[str, Any]],
    options: BeatOptions,
    progress: Callable[[int, int], None] | None = None,
    ahead: Mapping[str, Sequence[dict[str, Any]]] | None = None,
) -> list[dict[str, Any]]:
    """Return the rows with the columns that depend on beats: `beats`, `tempo_bpm`, `beat_source`,
    `music_offset_s`, `music_match`.

    Args:
        out: The prepared folder.
        rows: Rows of its videos.
        options: Beats and pieces that the user gives.
        progress: Called after each row with the number of rows done and of all rows.
        ahead: Rows of pieces that `EagerBeatTracker` has filled.

    Raises:
        DataError: A beat file or a piece of the user cannot be read.
    """
    pieces: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        pieces.setdefault(row["music"], []).append(row)
    ahead = ahead or {}
    filled: list[dict[str, Any]] = []
    for music in sorted(pieces):
        for row in ahead.get(music) or _filled(out, music, pieces[music], options):
            filled.append(row)
            if progress is not None:
                progress(len(filled), len(rows))
    return filled


class EagerBeatTracker:
    """Tracks the beats of each piece as soon as its last video is prepared, while workers still
    decode others. Only for tracked beats: beat files of the user are read at the end."""

    def __init__(
        self, out: Path, waiting: Iterable[str], rows: Iterable[Mapping[str, Any]]
    ) -> None:
        """Args:
        out: The prepared folder.
        waiting: The piece of each video that is still to be prepared.
        rows: Rows of the videos that an earlier run prepared.
        """
        self.filled: dict[str, list[dict[str, Any]]] = {}
        self._out = out
        self._missing = Counter(waiting)
        self._rows: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            self._rows.setdefault(row["music"], []).append(row)

    def add(self, music: str, row: Mapping[str, Any] | None) -> None:
        """Add a video of the piece `music`; `row` is None where it is quarantined."""
        members = self._rows.setdefault(music, [])
        if row is not None:
            members.append(row)
        self._missing[music] -= 1
        if members and not self._missing[music]:
            self.filled[music] = list(_filled(self._out, music, members, BeatOptions()))


def _filled(
    out: Path, music: str, rows: Sequence[Mapping[str, Any]], options: BeatOptions
) -> Iterator[dict[str, Any]]:
    """The rows of one piece with their beats, the longest sound first."""
    members = sorted(rows, key=lambda row: (-row["audio_duration_s"], row["name"]))
    piece = _piece(out, music, members[0], options)
    for row in members:
        yield {**row, **_beats_of(out, row, piece, options)}


def _piece(
    out: Path, music: str, longest: Mapping[str, Any], options: BeatOptions
) -> tuple[BeatTrack, str]:
    """The track of a piece and whether its beats are `piece` (tracked) or `file` (given)."""
    whole = _sound_file(options.music, music)
    if whole is not None:
        from datamodules.media.video import read_audio

        envelope = onset_envelope(read_audio(whole, SAMPLE_RATE), SAMPLE_RATE)
    else:
        envelope = stored_envelope(out, longest["name"])
    given = _beat_file(options.beat_files, music)
    if given is not None:
        beats = read_beat_file(given)
        return BeatTrack(beats, tempo_of(beats), envelope, ENVELOPE_RATE_HZ), "file"
    return track_envelope(envelope, longest["tempo_name_bpm"]), "piece"


def _beats_of(
    out: Path, row: Mapping[str, Any], piece: tuple[BeatTrack, str], options: BeatOptions
) -> dict[str, Any]:
    track, source = piece
    length = max(row["audio_duration_s"], row["source_duration_s"])
    envelope = stored_envelope(out, row["name"])
    place = locate(envelope, track.onset_envelope)
    own = _beat_file(options.beat_files, row["name"]) if row["name"] != row["music"] else None
    if own is not None:
        beats, source = read_beat_file(own), "file"
        tempo = tempo_of(beats)
    elif place.match >= MATCH:
        beats, tempo = track.beats_s - place.offset_s, track.tempo_bpm
    else:
        tracked = track_envelope(envelope, row["tempo_name_bpm"])
        beats, tempo, source = tracked.beats_s, tracked.tempo_bpm, "own"
    inside = beats[(beats >= 0.0) & (beats <= length)]
    return {
        "beats": [round(float(beat), 4) for beat in inside],
        "tempo_bpm": round(float(tempo), 4) if len(inside) else 0.0,
        "beat_source": source,
        "music_offset_s": round(place.offset_s, 4) + 0.0,
        "music_match": round(place.match, 4),
    }


def locate(part: NDArray[np.floating], whole: NDArray[np.floating]) -> Placement:
    """Find `part` (m,) in `whole` (M,), both at `ENVELOPE_RATE_HZ`, to a fraction of a hop.

    The part may extend beyond either end by a fifth of its length.
    """
    video = np.asarray(part, dtype=np.float64)
    piece = np.asarray(whole, dtype=np.float64)
    if len(video) < 10 or len(piece) < 10 or not video.any() or not piece.any():
        return Placement(0.0, 0.0)
    video = video - video.mean()
    shortest = min(_OVERLAP * len(video), len(piece))
    # products[i] belongs to the lag i - (m - 1): piece[lag + n] against video[n].
    products = correlate(piece - piece.mean(), video, mode="full", method="fft")
    lags = np.arange(len(products)) - (len(video) - 1)
    low = np.clip(lags, 0, len(piece))
    high = np.clip(lags + len(video), 0, len(piece))
    energy = np.concatenate([[0.0], np.cumsum((piece - piece.mean()) ** 2)])
    part_energy = np.concatenate([[0.0], np.cumsum(video**2)])
    norm = (energy[high] - energy[low]) * (part_energy[high - lags] - part_energy[low - lags])
    allowed = high - low >= shortest - 0.5
    score = np.where(allowed, products / np.sqrt(np.maximum(norm, 1e-12)), -1.0)
    best = int(np.argmax(score))
    fraction = 0.0
    if 0 < best < len(score) - 1 and score[best - 1] > -1.0 and score[best + 1] > -1.0:
        left, middle, right = score[best - 1 : best + 2]
        bend = left - 2.0 * middle + right
        fraction = float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5)) if bend < 0 else 0.0
    offset = (lags[best] + fraction) / ENVELOPE_RATE_HZ
    return Placement(float(offset), float(np.clip(score[best], -1.0, 1.0)))


def stored_envelope(out: Path, name: str) -> NDArray[np.float32]:
    """The onset envelope that a worker stored for a video."""
    path = out / "features" / f"{name}.safetensors"
    with safetensors.safe_open(path, framework="np") as stored:
        return stored.get_tensor("envelope")


def tempo_of(beats_s: NDArray[np.float64]) -> float:
    """Beats per minute by the median interval; 0 for fewer than two beats."""
    return 60.0 / float(np.median(np.diff(beats_s))) if len(beats_s) > 1 else 0.0


def _beat_file(folder: Path | None, stem: str) -> Path | None:
    path = folder / f"{stem}.txt" if folder is not None else None
    return path if path is not None and path.is_file() else None


def _sound_file(folder: Path | None, music: str) -> Path | None:
    if folder is None:
        return None
    found = sorted(path for path in folder.glob(f"{music}.*") if path.suffix != ".txt")
    if len(found) > 1:
        raise DataError(
            f"{folder} holds {len(found)} files for the piece {music} "
            f"({', '.join(path.name for path in found)}); keep one."
        )
    return found[0] if found else None
