"""Evaluations of runs: a protocol, and the scores of each clip."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.errors import SettingsError

if TYPE_CHECKING:
    from pandas import DataFrame

#: Columns of a per-clip table that may name the clip and its song, in order of preference.
CLIP_COLUMNS = ("clip", "clip_id", "name", "video", "file", "path")
MUSIC_COLUMNS = ("music_id", "music", "cluster")


@dataclass(frozen=True)
class Evaluation:
    """One evaluation: its protocol, and for each clip its name, its song and its scores."""

    protocol: Mapping[str, Any]
    protocol_hash: str
    clips: tuple[str, ...]
    music: tuple[str, ...]
    scores: Mapping[str, tuple[float, ...]]


def read_clip_scores(path: Path) -> tuple[list[str] | None, list[str] | None, "DataFrame"]:
    """Read a per-clip CSV.

    Returns:
        Names of the clips and of their songs, None without such a column, and the columns that
        contain numbers (NaN where a cell does not).

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is not a CSV with a header.
    """
    import pandas

    frame = pandas.read_csv(path, dtype=str, keep_default_na=False)
    clips, music = (
        next((name for name in names if name in frame), None)
        for names in (CLIP_COLUMNS, MUSIC_COLUMNS)
    )
    numbers = frame.drop(columns=[name for name in (clips, music) if name])
    numbers = numbers.apply(pandas.to_numeric, errors="coerce").dropna(axis=1, how="all")
    return (
        frame[clips].tolist() if clips else None,
        frame[music].tolist() if music else None,
        (numbers),
    )


def read_evaluation(folder: Path) -> Evaluation:
    """Read ``protocol.json`` and ``clips.csv`` of one evaluation.

    Raises:
        SettingsError: One of them is missing or unreadable.
    """
    try:
        protocol = json.loads((folder / "protocol.json").read_text("utf-8"))
        digest = str(protocol.get("hash") or protocol["protocol_hash"])
        clips, music, scores = read_clip_scores(folder / "clips.csv")
    except (ValueError, KeyError, AttributeError, FileNotFoundError) as error:
        raise SettingsError(
            f'"{folder}" does not contain a complete evaluation ({error}); run `dabfusion '
            "evaluate` again."
        ) from error
    clips = clips or [str(number) for number in range(len(scores))]
    columns = {str(name): tuple(scores[name].tolist()) for name in scores}
    return Evaluation(protocol, digest, tuple(clips), tuple(music or clips), columns)


def read_evaluations(folder: Path) -> list[Evaluation]:
    """Read the evaluations in the folder and its subfolders; only the first of each protocol."""
    protocols = (folder / "protocol.json", *sorted(folder.glob("*/protocol.json")))
    found: dict[str, Evaluation] = {}
    for evaluation in (read_evaluation(path.parent) for path in protocols if path.is_file()):
        found.setdefault(evaluation.protocol_hash, evaluation)
    return list(found.values())
