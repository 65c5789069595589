"""Read evaluations that `protocol` wrote, verify them, and compare them in a table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.errors import SettingsError
from experiments.evaluation.protocol import FORMAT, cell, protocol_hash
from metrics.functional.bootstrap import Interval

if TYPE_CHECKING:
    from pandas import DataFrame

#: Columns of a per-clip table that may name the clip and its song, in order of preference.
CLIP_COLUMNS = ("clip", "clip_id", "name", "video", "file", "path")
MUSIC_COLUMNS = ("music_id", "music", "cluster")
#: Scores that `score_table` shows, in this order.
HEADLINES = (
    *("corrected", "raw", "chance", "control_difference", "other_difference", "f1_corrected"),
    *("phase_cosine", "av_align", "warp_error", "psnr", "ssim", "frechet", "kernel"),
)


@dataclass(frozen=True)
class Evaluation:
    """What the files of one evaluation say."""

    protocol: Mapping[str, Any]
    protocol_hash: str
    clips: tuple[str, ...]
    music: tuple[str, ...]
    """Music id of each clip."""
    scores: Mapping[str, tuple[float, ...]]
    """Per-clip scores by name."""
    means: Mapping[str, Interval]
    """Means of the scores, and the distances to a reference."""
    failures: Sequence[Mapping[str, str]]
    """`name` and `reason` of each video that was not scored."""


def read_clip_scores(path: Path) -> tuple[list[str] | None, list[str] | None, DataFrame]:
    """Read a per-clip CSV with a header.

    Returns:
        Names of the clips and of their songs, None without such a column, and the columns that
        contain numbers (NaN where a cell does not).
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
        numbers,
    )


def read_evaluation(folder: Path) -> Evaluation:
    """Read an evaluation and verify that its files belong together.

    Raises:
        SettingsError: The folder holds no evaluation, or one of a newer format, or one whose
            protocol was changed by hand.
    """
    try:
        protocol = json.loads((folder / "protocol.json").read_text("utf-8"))
        summary = json.loads((folder / "scores.json").read_text("utf-8"))
        clips, music, table = read_clip_scores(folder / "clips.csv")
        clips = clips or [str(number) for number in range(len(table))]
        evaluation = Evaluation(
            protocol=protocol,
            protocol_hash=protocol["hash"],
            clips=tuple(clips),
            music=tuple(music or clips),
            scores={str(name): tuple(table[name].tolist()) for name in table},
            means={
                name: _interval(value)
                for name, value in {**summary["means"], **summary["distances"]}.items()
            },
            failures=summary["failures"],
        )
        version, stated = protocol["format"], summary["protocol_hash"]
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise SettingsError(
            f'"{folder}" holds no evaluation ({missing} is missing); run `dabfusion evaluate`.'
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(
            f'"{folder}" holds no readable evaluation ({error}); run `dabfusion evaluate` again.'
        ) from error
    if version not in range(1, FORMAT + 1):
        raise SettingsError(
            f'"{folder}" holds an evaluation of format {version}, but this version reads formats '
            f"1 to {FORMAT}; run `dabfusion evaluate` again."
        )
    content = {key: value for key, value in protocol.items() if key != "hash"}
    if not protocol_hash(content) == evaluation.protocol_hash == stated:
        raise SettingsError(
            f'"{folder}" holds a protocol that does not belong to its scores; run `dabfusion '
            "evaluate` again."
        )
    return evaluation


def read_evaluations(folder: Path) -> list[Evaluation]:
    """Read the evaluations in the folder and its subfolders; only the first of each protocol."""
    protocols = (folder / "protocol.json", *sorted(folder.glob("*/protocol.json")))
    found: dict[str, Evaluation] = {}
    for evaluation in (read_evaluation(path.parent) for path in protocols if path.is_file()):
        found.setdefault(evaluation.protocol_hash, evaluation)
    return list(found.values())


def score_table(folders: Sequence[Path], mix: bool = False) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a table of evaluations, or of run folders that hold one.

    Raises:
        SettingsError: Protocols differ and `mix` is not set; all differences are named.
    """
    places = [inner if (inner := f / "evaluation").is_dir() else f for f in folders]
    read = [read_evaluation(place) for place in places]
    first = read[0].protocol
    names = [name for name in HEADLINES if any(name in found.means for found in read)]
    rows = []
    for folder, found in zip(folders, read, strict=True):
        different = [
            f"{key} {_brief(first.get(key))} and {_brief(found.protocol.get(key))}"
            for key in sorted({*first, *found.protocol} - {"hash"})
            if first.get(key) != found.protocol.get(key)
        ]
        if different and not mix:
            raise SettingsError(
                f'"{folders[0]}" and "{folder}" were scored by different protocols '
                f"({'; '.join(different)}); evaluate them alike, or add --mix."
            )
        values = [cell(found.means.get(name)) for name in names]
        rows.append([str(folder), str(len(found.clips)), *values, found.protocol_hash])
    return ["evaluation", "clips", *names, "protocol"], rows


def _interval(value: Mapping[str, Any]) -> Interval:
    mean, low, high = (
        math.nan if value[key] is None else float(value[key]) for key in ("mean", "low", "high")
    )
    return Interval(mean, low, high, value.get("clips", 0), value.get("clusters", 0))


def _brief(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
