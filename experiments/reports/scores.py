"""Scores of runs with intervals, in one table per evaluation protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.evaluation.evaluations import Evaluation
from experiments.reports.metric_names import FIRST_METRICS
from experiments.reports.runs import RunRecord
from metrics.functional.bootstrap import Interval, cluster_bootstrap


@dataclass(frozen=True)
class ScoreRow:
    """Means of one run, and its differences from the baseline over the clips that both have."""

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

    def means(self, metric: str) -> Mapping[str, float]:
        """Return the mean of each run that has the metric."""
        return {row.run: row.scores[metric].mean for row in self.rows if metric in row.scores}


def score_tables(
    runs: Sequence[RunRecord], baseline: str | None = None, draws: int = 1000
) -> list[ScoreTable]:
    """Return one table per protocol, the one with most runs first.

    Args:
        runs: Runs with their evaluations.
        baseline: Name of the run that others are compared to, clip by clip; by default the first
            run of each table.
        draws: Number of bootstrap draws, resampled by song.
    """
    groups: dict[str, list[tuple[RunRecord, Evaluation]]] = {}
    for run in runs:
        for evaluation in run.evaluations:
            groups.setdefault(evaluation.protocol_hash, []).append((run, evaluation))
    tables = [_table(digest, members, baseline, draws) for digest, members in groups.items()]
    return sorted(tables, key=lambda table: -len(table.rows))


def last_values(runs: Sequence[RunRecord], prefix: str = "val/") -> dict[str, dict[str, float]]:
    """Return the last logged values of the training runs, {metric: {run: value}}."""
    keys = sorted({key for run in runs for key in run.curves if key.startswith(prefix)})
    return {
        key: {run.name: run.curves[key][-1][1] for run in runs if run.curves.get(key)}
        for key in keys
    }


def is_clear(difference: Interval) -> bool:
    """Whether the interval excludes 0, by more than rounding error."""
    margin = 1e-9 * max(abs(difference.low), abs(difference.high), 1.0)
    return difference.low > margin or difference.high < -margin


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
        shared = [name for name in scores if name in base.scores and run is not base_run]
        differences = {name: _paired(evaluation, base, name, draws) for name in shared}
        rows.append(ScoreRow(run.name, len(evaluation.clips), scores, differences))
    protocol = {str(key): _shorten(value) for key, value in base.protocol.items()}
    return ScoreTable(digest, protocol, metrics, rows, base_run.name)


def _paired(first: Evaluation, second: Evaluation, metric: str, draws: int) -> Interval:
    """Return the mean of ``first - second`` over the clips that both have."""
    other = dict(zip(second.clips, second.scores[metric], strict=True))
    mine = zip(first.clips, first.music, first.scores[metric], strict=True)
    pairs = [(value - other[clip], music) for clip, music, value in mine if clip in other]
    return cluster_bootstrap([p[0] for p in pairs], [p[1] for p in pairs], draws=draws)


def _shorten(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}… ({len(text)} characters)"
