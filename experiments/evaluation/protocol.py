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

#: Version of the protocol and of the three files. Since 2, `other_music` has the beats of one clip
#: of each other song; in 1 it had those of any clips of other songs.
FORMAT = 2


def protocol_hash(content: object) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a value's canonical JSON.

    Evaluations are matched by it, so it must never change (it differs from `index.digest_of`).
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def folder_facts(scores: FolderScores, options: FolderOptions) -> dict[str, Any]:
    """Return the part of the protocol that says how the videos of a folder were read."""
    ordered = sorted(scores.clips, key=lambda clip: clip.name)
    beats = [[c.name, *(round(t, 3) for t in c.music_beats.tolist())] for c in ordered]
    digest = protocol_hash(beats)
    return {**scores.read, "flow": options.flow, "beats_digest": digest, "bootstrap_seed": 0}


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
    """Return `mean [low, high]` with three decimals; a dash where there is no value."""
    return "-" if interval is None or math.isnan(interval.mean) else interval.text(3)


def _plain(interval: Interval) -> dict[str, Any]:
    values = asdict(interval).items()
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values}
