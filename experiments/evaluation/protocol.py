"""The files of an evaluation: its protocol with a hash, per-clip scores and means.

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
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datamodules.files import replacing, write_text
from experiments.config.load import Settings
from experiments.evaluation.clips import Row, summarize
from experiments.evaluation.folder import FolderOptions, FolderScores
from experiments.runs.manifest import data_digest
from metrics import VERSION
from metrics.functional.bootstrap import Interval

#: Version of the format of the three files.
FORMAT = 1


def protocol_hash(content: object) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a value's canonical JSON.

    Evaluations are matched by it, so it must never change (it differs from `index.digest_of`).
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def build_protocol(
    scores: FolderScores,
    options: FolderOptions,
    reference: Mapping[str, Any] | None = None,
    paired: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return everything that two evaluations must share to be compared, and its hash.

    The names of the clips are included, the generated pixels are not: two methods that made the
    same clips, read and scored alike, have the same hash.

    Args:
        scores: Scores of a folder.
        options: How it was scored.
        reference: Protocol of the comparison with a reference folder, if there was one.
        paired: How videos were compared with their true ones; None adds no key, so that
            evaluations without such scores keep their hash.
    """
    ordered = sorted(scores.clips, key=lambda clip: clip.name)
    beats = [[c.name, *(round(t, 3) for t in c.music_beats.tolist())] for c in ordered]
    protocol: dict[str, Any] = {
        "format": FORMAT,
        "metric": "MotionMusicAlignment2D",
        "metric_version": VERSION,
        "clips": len(ordered),
        "clips_digest": protocol_hash([clip.name for clip in ordered]),
        "fps": scores.kinds["fps"],
        "size": scores.kinds["size"],
        "frames": scores.kinds["frames"],
        "flow": options.flow,
        "beats": {key: count for key, count in scores.beat_sources.items() if count},
        "beats_digest": protocol_hash(beats),
        "bootstrap_seed": 0,
        "reference": None if reference is None else dict(reference),
    }
    if paired is not None:
        protocol["paired"] = dict(paired)
    return with_hash(protocol)


def with_hash(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """Return a protocol with its hash."""
    return {**protocol, "hash": protocol_hash(dict(protocol))}


def write_heldout(
    out: Path, settings: Settings, rows: Sequence[Row], noise_seed: int, split: str = "test"
) -> Mapping[str, Interval]:
    """Write the evaluation of clips that `score_heldout` generated.

    Two runs have the same protocol if the same clips of the same data were generated from the
    same noise and scored alike; how a run was trained or sampled is not part of it.

    Args:
        out: The run's `evaluation` folder.
        settings: Settings of the data that was scored.
        rows: Rows of the generated clips.
        noise_seed: The seed that `score_heldout` was given.
        split: `val` or `test`.

    Returns:
        Means of the rows' columns.
    """
    protocol: dict[str, Any] = {
        "format": FORMAT,
        "metric": "MotionMusicAlignment2D",
        "metric_version": VERSION,
        "split": split,
        "clips": len(rows),
        "clips_digest": protocol_hash([row["clip"] for row in rows]),
        "data_digest": data_digest(Path(settings.data)),
        "fps": settings.clips.fps,
        "frames": settings.clips.frames,
        "size": settings.clips.size,
        "beats": settings.clips.beats,
        "noise_seed": noise_seed,
    }
    means = summarize(rows)
    write_evaluation(out, with_hash(protocol), rows, means)
    return means


def write_evaluation(
    out: Path,
    protocol: Mapping[str, Any],
    rows: Sequence[Row],
    means: Mapping[str, Interval],
    distances: Mapping[str, Interval] | None = None,
    **left_out: Sequence[Mapping[str, str]],
) -> None:
    """Write the files of one evaluation, each atomically.

    Args:
        out: Folder to write.
        protocol: From `build_protocol`.
        rows: One a clip.
        means: From `summarize`.
        distances: Distances to a reference.
        **left_out: Lists of `name` and `reason` for `scores.json`, such as `failures`.
    """
    import pandas as pd

    table = pd.DataFrame(list(rows), columns=list(rows[0]) if rows else ["clip", "music_id"])
    text = table.to_csv(index=False, float_format="%.6f", na_rep="nan", lineterminator="\n")
    write_text(out / "clips.csv", text)
    with replacing(out / "clips.parquet") as temporary:
        table.to_parquet(temporary)
    summary = {
        "format": FORMAT,
        "protocol_hash": protocol["hash"],
        "means": {name: _plain(interval) for name, interval in means.items()},
        "distances": {name: _plain(interval) for name, interval in (distances or {}).items()},
        "failures": [],
        **{key: [dict(item) for item in items] for key, items in left_out.items()},
    }
    write_text(out / "scores.json", json.dumps(summary, indent=2) + "\n")
    write_text(out / "protocol.json", json.dumps(dict(protocol), indent=2) + "\n")


def cell(interval: Interval | None) -> str:
    """Return `mean [low, high]` with three decimals; a dash where there is no value."""
    return "-" if interval is None or math.isnan(interval.mean) else interval.text(3)


def _plain(interval: Interval) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in asdict(interval).items()
    }
