"""The files of an evaluation: write them, read and verify them, compare them in a table.

protocol.json   how the numbers were made, with a hash of it
clips.csv       one row a clip (also clips.parquet)
scores.json     means with intervals, distances, and the videos that were left out

Only evaluations of the same protocol hash may be compared.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datamodules.files import replacing, write_text
from experiments.config.load import Settings
from experiments.errors import SettingsError
from experiments.evaluation.clips import Row, summarize
from experiments.runs.manifest import data_digest
from metrics import VERSION
from metrics.functional.bootstrap import Interval

if TYPE_CHECKING:
    from pandas import DataFrame

#: Version of the protocol and of the three files. Since 2, `other_music` has the beats of one clip
#: of each other song; in 1 it had those of any clips of other songs.
FORMAT = 2
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


def protocol_hash(content: object) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a value's canonical JSON.

    Evaluations are matched by it, so it must never change (it differs from `index.digest_of`).
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_heldout(
    out: Path, settings: Settings, rows: Sequence[Row], noise_seed: int, split: str = "test"
) -> Mapping[str, Interval]:
    """Write the evaluation of clips that `score_heldout` generated, and return its means.

    Two runs have the same protocol if the same clips of the same data were generated from the
    same noise and scored alike; how a run was trained or sampled is not part of it.

    Args:
        out: The run's `evaluation` folder.
        settings: Settings of the data that was scored.
        rows: Rows of the generated clips.
        noise_seed: The seed that `score_heldout` was given.
        split: `val` or `test`.
    """
    clips = settings.clips
    facts = {
        "split": split,
        "data_digest": data_digest(Path(settings.data)),
        "fps": clips.fps,
        "frames": clips.frames,
        "size": clips.size,
        "beats": clips.beats,
        "noise_seed": noise_seed,
    }
    return write_evaluation(out, rows, facts)[1]


def write_evaluation(
    out: Path,
    rows: Sequence[Row],
    facts: Mapping[str, Any],
    distances: Mapping[str, Interval] | None = None,
    **left_out: Sequence[Mapping[str, str]],
) -> tuple[str, dict[str, Interval]]:
    """Write the files of one evaluation, each atomically.

    The names of the clips are part of the protocol, the generated pixels are not: two methods that
    made the same clips, read and scored alike, have the same hash.

    Args:
        out: Folder to write.
        rows: From `clip_rows`.
        facts: What else two evaluations must share to be compared.
        distances: Distances to a reference.
        **left_out: Lists of `name` and `reason` for `scores.json`, such as `failures`.

    Returns:
        The hash of the protocol, and the means of the rows followed by the distances.
    """
    import pandas as pd

    protocol = {
        "format": FORMAT,
        "metric": "MotionMusicAlignment2D",
        "metric_version": VERSION,
        "clips": len(rows),
        "clips_digest": protocol_hash([row["clip"] for row in rows]),
        **facts,
    }
    digest = protocol_hash(protocol)
    means, found = summarize(rows), dict(distances or {})
    table = pd.DataFrame(list(rows), columns=list(rows[0]) if rows else ["clip", "music_id"])
    text = table.to_csv(index=False, float_format="%.6f", na_rep="nan", lineterminator="\n")
    write_text(out / "clips.csv", text)
    with replacing(out / "clips.parquet") as temporary:
        table.to_parquet(temporary)
    summary = {
        "format": FORMAT,
        "protocol_hash": digest,
        "means": {name: _plain(interval) for name, interval in means.items()},
        "distances": {name: _plain(interval) for name, interval in found.items()},
        "failures": [],
        **{key: [dict(item) for item in items] for key, items in left_out.items()},
    }
    write_text(out / "scores.json", json.dumps(summary, indent=2) + "\n")
    write_text(out / "protocol.json", json.dumps({**protocol, "hash": digest}, indent=2) + "\n")
    return digest, {**means, **found}


def cell(interval: Interval | None) -> str:
    """Return `mean [low, high]` with three decimals; a dash for a missing value."""
    return "-" if interval is None or math.isnan(interval.mean) else interval.text(3)


def _plain(interval: Interval) -> dict[str, Any]:
    values = asdict(interval).items()
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values}


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
