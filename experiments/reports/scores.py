"""Scores of runs as tables: means with intervals, one table a protocol, never mixed."""

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.reports.runs import Evaluation, RunRecord
from metrics.functional.bootstrap import Interval, cluster_bootstrap

#: What a dance is judged by stands first: its score, and the controls that must fall.
FIRST_METRICS = ("corrected", "half_beat_off", "other_music", "shifted", "raw", "chance")


@dataclass(frozen=True)
class ScoreRow:
    """One run's means, and its differences to the baseline over the clips both have."""

    run: str
    clips: int
    scores: dict[str, Interval]
    differences: dict[str, Interval]


@dataclass(frozen=True)
class ScoreTable:
    """Runs that were scored by one protocol."""

    protocol_hash: str
    protocol: dict[str, str]
    metrics: list[str]
    rows: list[ScoreRow]
    baseline: str


def score_tables(
    runs: Sequence[RunRecord], baseline: str | None = None, draws: int = 1000
) -> list[ScoreTable]:
    """One table a protocol, the one with most runs first.

    Args:
        runs: with their evaluations.
        baseline: name of the run that others are compared to, clip by clip; None takes the first
            of each table.
        draws: bootstrap draws; intervals redraw pieces of music, not clips.
    """
    groups: dict[str, list[tuple[RunRecord, Evaluation]]] = {}
    for run in runs:
        for evaluation in run.evaluations:
            groups.setdefault(evaluation.protocol_hash, []).append((run, evaluation))
    tables = [_table(digest, members, baseline, draws) for digest, members in groups.items()]
    return sorted(tables, key=lambda table: -len(table.rows))


def paired_difference(first: Evaluation, second: Evaluation, metric: str, draws: int) -> Interval:
    """Mean of ``first - second`` over the clips that both have, its interval over music."""
    other = dict(zip(second.clips, second.scores.get(metric, ()), strict=False))
    mine = zip(first.clips, first.music, first.scores.get(metric, ()), strict=False)
    pairs = [(value - other[clip], music) for clip, music, value in mine if clip in other]
    return cluster_bootstrap([p[0] for p in pairs], [p[1] for p in pairs], draws=draws)


def last_values(runs: Sequence[RunRecord], prefix: str = "val/") -> dict[str, dict[str, float]]:
    """{metric: {run: value at its last step}} of the training logs; no intervals, no protocol."""
    keys = sorted({key for run in runs for key in run.curves if key.startswith(prefix)})
    return {
        key: {run.name: run.curves[key][-1][1] for run in runs if run.curves.get(key)}
        for key in keys
    }


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
        scores = {
            name: cluster_bootstrap(values, evaluation.music, draws=draws)
            for name, values in evaluation.scores.items()
        }
        differences = {}
        if run is not base_run:
            differences = {
                name: paired_difference(evaluation, base, name, draws)
                for name in evaluation.scores
                if name in base.scores
            }
        rows.append(ScoreRow(run.name, len(evaluation.clips), scores, differences))
    protocol = {str(key): _short(value) for key, value in base.protocol.items()}
    return ScoreTable(digest, protocol, metrics, rows, base_run.name)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}… ({len(text)} characters)"
