"""The evaluation of generated held-out clips as a run folder keeps it, for `dabfusion compare`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.config.load import Settings
from experiments.evaluation.clips import Row, summarise
from experiments.evaluation.protocol import FORMAT, digest_of, write_evaluation
from experiments.runs.manifest import data_digest
from metrics import VERSION
from metrics.functional.bootstrap import Interval


def write_heldout(
    out: Path, settings: Settings, rows: Sequence[Row], noise_seed: int, split: str = "test"
) -> Mapping[str, Interval]:
    """Write protocol, rows and means of clips that `score_heldout` generated.

    Two runs have one protocol where the same clips of the same data were generated from the same
    noise and scored alike; how a run was trained or sampled is no part of it.

    Args:
        out: the run's `evaluation` folder.
        settings: of the data that was scored.
        rows: of the generated clips.
        noise_seed: what `score_heldout` was given.
        split: `val` or `test`.

    Returns:
        Means by the rows' columns.
    """
    protocol: dict[str, Any] = {
        "format": FORMAT,
        "metric": "MotionMusicAlignment2D",
        "metric_version": VERSION,
        "split": split,
        "clips": len(rows),
        "clips_digest": digest_of([row["clip"] for row in rows]),
        "data_digest": data_digest(Path(settings.data)),
        "fps": settings.clips.fps,
        "frames": settings.clips.frames,
        "size": settings.clips.size,
        "beats": settings.clips.beats,
        "noise_seed": noise_seed,
    }
    means = summarise(rows)
    write_evaluation(out, {**protocol, "hash": digest_of(protocol)}, rows, means)
    return means
