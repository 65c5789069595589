"""Requests of dances, single or from lists: CSV or JSON files with one row per dance."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from datamodules.errors import DataError
from datamodules.index import digest_of
from datamodules.media.probe import opened
from experiments.errors import SettingsError, explain
from experiments.generation.load import finish
from experiments.generation.options import OPTIONS, read_number
from lightning_modules.pipeline import DabFusionPipeline, DanceRequest

REQUIRED = ("image", "song", "out")
#: Other accepted names of columns.
ALIASES = {"picture": "image", "guidance": "guidance_scale"}


@dataclass(frozen=True)
class Row:
    """A row of a list; with a `problem`, a sentence, it cannot be generated."""

    name: str
    out: Path = Path()
    options: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


def build_request(options: Mapping[str, Any]) -> tuple[DanceRequest, dict[str, Any]]:
    """Return a dance's request and keyword arguments of `DabFusionPipeline.batch`."""
    given = {o.argument: options[k] for k, o in OPTIONS.items() if options.get(k) is not None}
    request = {f.name: given.pop(f.name) for f in fields(DanceRequest) if f.name in given}
    return DanceRequest(**request), given


def read_list(path: Path, folder: Path) -> list[Row]:
    """Read a list of dances.

    Args:
        path: `.csv` with a header, or `.json` with a list of objects. The columns are `REQUIRED`
            and, optionally, those of `OPTIONS`. Files are relative to the folder of the list.
        folder: Folder to write to; ``out``, the name of an mp4, is relative to it.

    Raises:
        SettingsError: The whole list cannot be used.
    """
    rows: list[Row] = []
    outs: dict[Path, str] = {}
    for number, (line, values) in enumerate(_values(path), start=1):
        name = f"Row {number} of {path.name}{line}"
        try:
            row = _row(name, values, path.parent, folder)
            if row.out in outs:
                raise SettingsError(f"{outs[row.out]} writes {row.out.name} too.")
            outs[row.out] = name
        except (SettingsError, OSError) as error:
            row = Row(name, problem=f"{name}: {explain(error) or error}")
        rows.append(row)
    if not rows:
        raise SettingsError(f"{path} lists no dances; give rows of image, song and out.")
    return rows


def generate_rows(
    pipe: DabFusionPipeline, rows: Sequence[Row], shared: Mapping[str, Any]
) -> list[str]:
    """Generate dances together where their sampling options agree; skip finished ones.

    A dance is finished if its video exists and was generated from the same model, files and
    options, of which every video has a digest in its metadata.

    Args:
        pipe: The pipeline.
        rows: Rows of a list.
        shared: Options of the command line, which those of a row override; with the model's folder.

    Returns:
        Problems of rows that were not generated, each a sentence with the name of the row.
    """
    problems = [row.problem for row in rows if row.problem]
    groups: dict[str, list[tuple[Row, dict[str, Any], str]]] = {}
    for row in rows:
        if row.problem:
            continue
        options = {**shared, **row.options}
        digest = digest_of({k: _fingerprint(v) for k, v in options.items() if v is not None})[:16]
        if digest in _description(row.out):
            print(f"{row.out}: generated before.", file=sys.stderr)
        else:
            sampling = build_request(options)[1]
            groups.setdefault(str(sampling), []).append((row, options, digest))
    for group in groups.values():
        built = [build_request(options) for _, options, _ in group]
        try:
            dances = pipe.batch([request for request, _ in built], **built[0][1])
            for (row, options, digest), dance in zip(group, dances, strict=True):
                finish(dance, row.out, options, f"Request {digest}.")
        except Exception as error:  # what is not the user's error is raised again
            sentence = explain(error)
            if sentence is None:
                raise
            if len(group) == 1:
                problems.append(f"{group[0][0].name}: {sentence}")
            else:
                for row, *_ in group:  # one by one, so that only the row at fault is left out
                    problems += generate_rows(pipe, [row], shared)
    return problems


def _description(video: Path) -> str:
    """Return the description in a video's metadata; empty if there is none."""
    if not video.is_file():
        return ""
    try:
        with opened(video) as container:
            return str(container.metadata.get("description", ""))
    except DataError:
        return ""


def _fingerprint(value: Any) -> Any:
    """Return an option, or for a path what changes with the content of the file or folder."""
    if not isinstance(value, Path):
        return value
    weights = (path for path in value.rglob("*.safetensors") if path.parent != value)
    files = [*weights, *(path for path in value.glob("*") if path.is_file())]
    return [
        [str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns]
        for path in (sorted(files) if value.is_dir() else [value])
    ]


def _values(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return the rows of a file, each with its line in parentheses, if it has one."""
    if path.suffix.lower() != ".json":
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file)
                return [(f" (line {reader.line_num})", row) for row in reader if any(row.values())]
        except (UnicodeDecodeError, csv.Error) as error:
            raise SettingsError(f"{path} is not a CSV file with a header ({error}).") from error
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is not readable as JSON ({error}).") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SettingsError(f"{path} must be a list of objects, one for each dance.")
    return [("", row) for row in rows]


def _row(name: str, values: Mapping[str, Any], source: Path, folder: Path) -> Row:
    """Check a row; raise a SettingsError or FileNotFoundError if it cannot be used."""
    given = {ALIASES.get(k, k): v for k, v in values.items() if v not in (None, "", [])}
    known = list(dict.fromkeys((*REQUIRED, *OPTIONS)))
    for column in given:
        if column not in known:
            raise SettingsError(
                f"The column {column!r} is not known; known are {', '.join(known)}."
            )
    for column in REQUIRED:
        if column not in given:
            raise SettingsError(f"The value of {column} is missing.")
    out = folder / str(given.pop("out"))
    if out.suffix.lower() != ".mp4":
        raise SettingsError(f"out is {out.name}, but must end in .mp4.")
    options: dict[str, Any] = {}
    for column, value in given.items():
        if OPTIONS[column].is_number:
            options[column] = read_number(column, value)
        elif OPTIONS[column].kind is str:
            options[column] = str(value)
        else:
            options[column] = source / str(value)
            if not options[column].exists():
                raise FileNotFoundError(2, "", str(options[column]))
    return Row(name, out, options)
