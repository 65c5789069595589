"""Scores of runs with intervals, in one table per evaluation protocol; names of metrics."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.evaluation.evaluations import Evaluation
from experiments.reports.runs import RunRecord
from metrics.functional.bootstrap import Interval, cluster_bootstrap

#: Metrics shown first: the score of a dance, then the controls that must be lower.
FIRST_METRICS = ("corrected", "half_beat_off", "other_music", "shifted", "raw", "chance")

#: Name, and whether higher is better. None where neither direction is: controls, counts, and the
#: raw alignment, which also rises with the number of motion beats.
METRICS: dict[str, tuple[str, bool | None]] = {
    "corrected": ("Alignment, chance-corrected", True),
    "half_beat_off": ("Beats shifted by half a beat (control)", None),
    "other_music": ("Beats of other songs (control)", None),
    "shifted": ("Beats shifted in time (control)", None),
    "raw": ("Alignment, raw", None),
    "chance": ("Alignment by chance", None),
    "control_difference": ("Alignment minus shifted beats", True),
    "other_difference": ("Alignment minus other songs", True),
    "music_to_motion": ("Alignment, music to motion", True),
    "motion_beats": ("Motion beats", None),
    "music_beats": ("Music beats", None),
    "f1": ("Beat F1", True),
    "f1_corrected": ("Beat F1, chance-corrected", True),
    "phase_cosine": ("Phase agreement", True),
    "av_align": ("AV-Align", True),
    "loss": ("Loss", False),
    "denoising": ("Denoising loss", False),
    "velocity": ("Velocity loss", False),
    "l1": ("L1", False),
    "l1_all": ("L1, whole image", False),
    "l1_copy": ("L1 of copying the reference", None),
    "l1_ratio": ("L1 relative to copying", False),
    "l1_ratio_deformed": ("L1 relative to copying, warp only", False),
    "psnr": ("PSNR, dB", True),
    "psnr_copy": ("PSNR of copying, dB", None),
    "psnr_gain": ("PSNR above copying, dB", True),
    "ssim": ("SSIM", True),
}
#: What a key's prefix adds to the name.
_PREFIXES = {
    "val/align_pixels_": ", decoded video",
    "val/align_": "",
    "val/": "",
    "train/": ", training",
}


@dataclass(frozen=True)
class ScoreRow:
    """Means of one run, and its differences from the baseline over the clips that both have."""

    run: str
    clips: int
    scores: dict[str, Interval]
    differences: dict[str, Interval]


@dataclass(frozen=True)
class ScoreTable:
    """Runs that were scored by one protocol; ``best`` names the best runs of each metric."""

    protocol_hash: str
    protocol: Mapping[str, Any]
    metrics: list[str]
    rows: list[ScoreRow]
    baseline: str
    best: dict[str, set[str]]


def metric_title(key: str) -> str:
    """Return a readable name of a metric's key (``val/align_corrected``), or the key itself."""
    name, note = _split(key)
    return METRICS[name][0] + note if name in METRICS else key


def best_runs(key: str, values: Mapping[str, float]) -> set[str]:
    """Return the names of the runs with the best value, NaN being undefined.

    There are none where the metric has no better direction or no two runs can be compared.
    """
    higher = METRICS.get(_split(key)[0], ("", None))[1]
    finite = {run: value for run, value in values.items() if value == value}
    if higher is None or len(finite) < 2:
        return set()
    best = max(finite.values()) if higher else min(finite.values())
    return {run for run, value in finite.items() if value == best}


def _split(key: str) -> tuple[str, str]:
    prefix = next((prefix for prefix in _PREFIXES if key.startswith(prefix)), "")
    return key.removeprefix(prefix), _PREFIXES.get(prefix, "")


def score_tables(
    runs: Sequence[RunRecord], baseline: str | None = None, draws: int = 1000
) -> list[ScoreTable]:
    """Return one table per protocol, the one with most runs first.

    Others are compared clip by clip to the run named ``baseline``, by default to the first one of
    each table. Intervals are resampled by song.
    """
    groups: dict[str, list[tuple[RunRecord, Evaluation]]] = {}
    for run in runs:
        for evaluation in run.evaluations:
            groups.setdefault(evaluation.protocol_hash, []).append((run, evaluation))
    tables = [_table(digest, members, baseline, draws) for digest, members in groups.items()]
    return sorted(tables, key=lambda table: -len(table.rows))


def _table(
    digest: str,
    members: Sequence[tuple[RunRecord, Evaluation]],
    baseline: str | None,
    draws: int,
) -> ScoreTable:
    base_run, base = next(((run, e) for run, e in members if run.name == baseline), members[0])
    found = dict.fromkeys(name for _, e in members for name in e.scores)
    metrics = [name for name in FIRST_METRICS if name in found]
    metrics += [name for name in found if name not in metrics]
    rows = []
    for run, evaluation in members:
        scores, differences = {}, {}
        for name, values in evaluation.scores.items():
            scores[name] = cluster_bootstrap(values, evaluation.music, draws=draws)
            if name in base.scores and run is not base_run:
                other = dict(zip(base.clips, base.scores[name], strict=True))
                paired = [
                    value - other.get(clip, math.nan)  # NaN, which is left out: not shared
                    for clip, value in zip(evaluation.clips, values, strict=True)
                ]
                differences[name] = cluster_bootstrap(paired, evaluation.music, draws=draws)
        rows.append(ScoreRow(run.name, len(evaluation.clips), scores, differences))
    best = {
        name: best_runs(
            name, {row.run: row.scores[name].mean for row in rows if name in row.scores}
        )
        for name in metrics
    }
    return ScoreTable(digest, base.protocol, metrics, rows, base_run.name, best)


def last_values(runs: Sequence[RunRecord]) -> dict[str, dict[str, float]]:
    """Return the last validation of the runs, {metric: {run: value}}."""
    keys = sorted({key for run in runs for key in run.curves if key.startswith("val/")})
    return {
        key: {run.name: run.curves[key][-1][1] for run in runs if run.curves.get(key)}
        for key in keys
    }


def is_clear(difference: Interval) -> bool:
    """Whether the interval excludes 0, by more than rounding error."""
    margin = 1e-9 * max(abs(difference.low), abs(difference.high), 1.0)
    return difference.low > margin or difference.high < -margin
