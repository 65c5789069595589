"""Lists of dances to generate: CSV or JSON files with one row per dance."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datamodules.errors import DataError
from datamodules.index import digest_of
from datamodules.media.probe import opened
from experiments.errors import SettingsError, explain
from experiments.generation.requests import (
    FILES,
    NUMBERS,
    build_request,
    finish,
    read_number,
    sampling_arguments,
)
from lightning_modules.pipeline import DabFusionPipeline

REQUIRED = ("image", "song", "out")
COLUMNS = (*REQUIRED, *NUMBERS, "solver", *FILES[2:])
#: Other accepted names of columns.
ALIASES = {"picture": "image", "guidance": "guidance_scale"}


@dataclass(frozen=True)
class Row:
    """A row of a list; with a `problem`, a sentence, it cannot be generated."""

    name: str
    out: Path = Path()
    options: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


def read_list(path: Path, folder: Path) -> list[Row]:
    """Read a list of dances.

    Args:
        path: `.csv` with a header, or `.json` with a list of objects. The columns are `COLUMNS`, of
            which `REQUIRED` are needed. Files are relative to the folder of the list.
        folder: Folder to write to; ``out``, the name of an mp4, is relative to it.

    Raises:
        SettingsError: The whole list cannot be used.
    """
    given = _json_rows(path) if path.suffix.lower() == ".json" else _csv_rows(path)
    rows: list[Row] = []
    outs: dict[Path, str] = {}
    for number, (line, values) in enumerate(given, start=1):
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
    pipe: DabFusionPipeline, rows: Sequence[Row], shared: Mapping[str, Any], model: Path
) -> list[str]:
    """Generate dances together where their sampling options agree; skip finished ones.

    A dance is finished if its video exists and was generated from the same model, files and
    options, of which every video has a digest in its metadata.

    Args:
        pipe: The pipeline.
        rows: Rows of a list.
        shared: Options of the command line, which those of a row override.
        model: Folder from which the pipeline was loaded.

    Returns:
        Problems of rows that were not generated, each a sentence with the name of the row.
    """
    problems = [row.problem for row in rows if row.problem]
    groups: dict[str, list[tuple[Row, str]]] = {}
    for row in rows:
        if row.problem:
            continue
        options = {**shared, **row.options, "model": model}
        digest = digest_of({k: _fingerprint(v) for k, v in options.items() if v is not None})[:16]
        if digest in _description(row.out):
            print(f"{row.out}: generated before.", file=sys.stderr)
        else:
            groups.setdefault(str(sampling_arguments(options)), []).append((row, digest))
    for group in groups.values():
        chosen = [{**shared, **row.options} for row, _ in group]
        try:
            requests = [build_request(each) for each in chosen]
            dances = pipe.batch(requests, **sampling_arguments(chosen[0]))
            for (row, digest), dance, each in zip(group, dances, chosen, strict=True):
                finish(dance, row.out, each, f"Request {digest}.")
        except Exception as error:  # what is not the user's error is raised again
            sentence = explain(error)
            if sentence is None:
                raise
            if len(group) == 1:
                problems.append(f"{group[0][0].name}: {sentence}")
            else:
                for row, _ in group:  # one by one, so that only the row at fault is left out
                    problems += generate_rows(pipe, [row], shared, model)
    return problems


def _description(video: Path) -> str:
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


def _csv_rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            return [(f" (line {reader.line_num})", row) for row in reader if any(row.values())]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{path} is not a CSV file with a header ({error}).") from error


def _json_rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is not readable as JSON ({error}).") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SettingsError(f"{path} must be a list of objects, one for each dance.")
    return [("", row) for row in rows]


def _row(name: str, values: Mapping[str, Any], source: Path, folder: Path) -> Row:
    """Check a row.

    Raises:
        SettingsError: A value is missing or cannot be used.
        FileNotFoundError: A file is missing.
    """
    given = {ALIASES.get(k, k): v for k, v in values.items() if v not in (None, "", [])}
    unknown = [str(column) for column in given if column not in COLUMNS]
    if unknown:
        raise SettingsError(
            f"The column {unknown[0]!r} is not known; known are {', '.join(COLUMNS)}."
        )
    missing = [column for column in REQUIRED if column not in given]
    if missing:
        raise SettingsError(f"The value of {missing[0]} is missing.")
    out = folder / str(given.pop("out"))
    if out.suffix.lower() != ".mp4":
        raise SettingsError(f"out is {out.name}, but must end in .mp4.")
    options: dict[str, Any] = {}
    for column, value in given.items():
        if column in FILES:
            options[column] = source / str(value)
            if not options[column].exists():
                raise FileNotFoundError(2, "", str(options[column]))
        else:
            options[column] = read_number(column, value) if column in NUMBERS else str(value)
    return Row(name, out, options)
