"""A list of dances to generate: pictures and songs in a CSV or JSON file."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.errors import SettingsError

REQUIRED = ("picture", "song", "out")
#: Optional columns, with how their text is read.
OPTIONAL: dict[str, type] = {
    "start": float,
    "tempo": float,
    "seed": int,
    "person_height": float,
    "beats": Path,
    "mask": Path,
    "background": Path,
}
#: Columns that a `DanceRequest` calls otherwise.
_FIELDS = {"start": "start_s", "tempo": "tempo_bpm", "seed": "generator", "beats": "beat_file"}


@dataclass(frozen=True)
class ListedDance:
    """One line of a list, with paths as they are from here."""

    picture: Path
    song: Path
    out: Path
    more: dict[str, Any] = field(default_factory=dict)
    """The optional columns that are filled."""

    def fields(self) -> dict[str, Any]:
        """The fields of a `DanceRequest` that the line fills."""
        more = {_FIELDS.get(name, name): value for name, value in self.more.items()}
        return {"image": self.picture, "music": self.song, **more}


def read_list(path: Path, folder: Path) -> list[ListedDance]:
    """The dances of a list.

    Args:
        path: `.csv` with a header line, or `.json` with a list of objects. Columns: picture, song
            and out; optionally those of `OPTIONAL`. Paths to read count from the list's folder.
        folder: to which `out`, an mp4, counts.

    Raises:
        SettingsError: the list, or one of its lines, cannot be used.
        FileNotFoundError: a file is missing.
    """
    rows = _json_rows(path) if path.suffix.lower() == ".json" else _csv_rows(path)
    if not rows:
        raise SettingsError(f"{path} lists no dance; give lines of picture, song and out.")
    dances = [_dance(row, path, number, folder) for number, row in enumerate(rows, start=1)]
    outs = [dance.out for dance in dances]
    twice = next((out for out in outs if outs.count(out) > 1), None)
    if twice is not None:
        raise SettingsError(f"{path} writes {twice.name} twice; give each dance a name of its own.")
    return dances


def _csv_rows(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [dict(row) for row in csv.DictReader(file)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{path} is no CSV file with a header line ({error}).") from error


def _json_rows(path: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is no readable JSON ({error}).") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SettingsError(f"{path} must hold a list of objects, one a dance.")
    return rows


def _dance(row: dict[str, Any], path: Path, number: int, folder: Path) -> ListedDance:
    known = [*REQUIRED, *OPTIONAL]
    unknown = [str(name) for name in row if name not in known]
    if unknown:
        raise SettingsError(
            f"Dance {number} of {path} has the unknown column {unknown[0]!r}; there are "
            f"{', '.join(known)}."
        )
    given = {name: value for name, value in row.items() if value not in (None, "")}
    absent = [name for name in REQUIRED if name not in given]
    if absent:
        raise SettingsError(f"Dance {number} of {path} lacks {absent[0]}.")
    more = {name: _read(name, given[name], path, number) for name in OPTIONAL if name in given}
    out = folder / str(given["out"])
    if out.suffix.lower() != ".mp4":
        raise SettingsError(f"Dance {number} of {path} is written to {out}: end it in .mp4.")
    read = {name: path.parent / str(given[name]) for name in ("picture", "song")}
    read |= {name: path.parent / value for name, value in more.items() if isinstance(value, Path)}
    for file in read.values():
        if not file.exists():
            raise FileNotFoundError(2, "", str(file))
    more |= {name: file for name, file in read.items() if name in OPTIONAL}
    return ListedDance(read["picture"], read["song"], out, more)


def _read(name: str, value: Any, path: Path, number: int) -> Any:
    try:
        return OPTIONAL[name](value)
    except (TypeError, ValueError) as error:
        raise SettingsError(
            f"Dance {number} of {path} says {name} = {value!r}, which is no number."
        ) from error
