"""What a sweep found: conditions with intervals and effect sizes, as table, figure and page.

Two sources of uncertainty, two intervals: over seeds (Student's t over the seeds' means: would
another training come out alike?) and over clips (bootstrap that redraws pieces of music: would
other music?). Differences are to the first condition, over the clips and seeds both have.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.report_runs import Evaluation, read_evaluation
from experiments.report_scores import hedges_g, t_interval
from experiments.report_tables import Bar, Table, csv_text, draw_bars
from experiments.results import write_text
from experiments.sweep_grammar import Sweep
from experiments.sweep_store import SweepStore, decode
from experiments.sweep_worker import read_result
from metrics.functional.bootstrap import Interval, cluster_bootstrap

SEED = "seed"
#: Rows of a table; trials.csv holds all.
MOST_ROWS = 60


@dataclass(frozen=True)
class Trial:
    """A complete trial: its values, its metrics, and its per-clip rows where it has any."""

    number: int
    values: Mapping[str, Any]
    metrics: Mapping[str, float]
    evaluation: Evaluation | None


@dataclass(frozen=True)
class Condition:
    """All seeds of one combination of values, for one metric."""

    label: str
    values: tuple[Any, ...]
    per_seed: tuple[float, ...]
    over_seeds: Interval
    over_clips: Interval
    difference: Interval
    effect: float


def write_sweep_report(store: SweepStore, out: Path) -> Path:
    """Write ``report.md``, ``table.tex``, ``table.csv``, ``trials.csv`` and ``figure.svg``.

    Returns:
        The path of ``report.md``.
    """
    trials = read_trials(store)
    sweep = store.sweep
    names = [name for name in sweep.varied if name != SEED]
    if sweep.method != "grid":
        # No seeds to average and no row to compare with: the best trials, the best one first.
        trials.sort(key=lambda t: t.metrics[sweep.metric], reverse=sweep.maximise)
    conditions = analyse(trials, names, sweep.metric)[:MOST_ROWS]
    table = _table(conditions, names, sweep)
    write_text(out / "table.tex", table.latex() + "\n")
    write_text(out / "table.csv", _condition_csv(conditions, names, sweep.metric))
    write_text(out / "trials.csv", _trial_csv(trials, sweep))
    draw_bars([_bar(c) for c in conditions], sweep.metric, out / "figure.svg")
    report = out / "report.md"
    write_text(report, _markdown(store, table, trials, conditions) + "\n")
    return report


def read_trials(store: SweepStore) -> list[Trial]:
    """The complete trials in order of their numbers."""
    from optuna.trial import TrialState

    found = []
    for frozen in store.study.get_trials(deepcopy=False):
        if frozen.state != TrialState.COMPLETE or frozen.value is None:
            continue
        folder = store.folder(frozen.number)
        evaluated = (folder / "evaluation" / "protocol.json").is_file()
        found.append(
            Trial(
                frozen.number,
                {name: decode(value) for name, value in frozen.params.items()},
                {**read_result(folder), store.sweep.metric: frozen.value},
                read_evaluation(folder / "evaluation") if evaluated else None,
            )
        )
    return found


def analyse(trials: Sequence[Trial], names: Sequence[str], metric: str) -> list[Condition]:
    """Group trials by the values of ``names`` and compare each group with the first.

    The per-clip scores of ``metric`` are those of the column that its last part names
    (``heldout/corrected``: ``corrected``); without per-clip rows only seeds have an interval.
    """
    groups: dict[tuple[str, ...], list[Trial]] = {}
    for trial in trials:
        key = tuple(str(trial.values.get(name)) for name in names)
        groups.setdefault(key, []).append(trial)
    column = metric.rsplit("/", 1)[-1]
    base = next(iter(groups.values()), [])
    return [
        Condition(
            label=", ".join(f"{_last(n)}={v}" for n, v in zip(names, key, strict=True)),
            values=tuple(members[0].values.get(name) for name in names),
            per_seed=tuple(trial.metrics[metric] for trial in members),
            over_seeds=t_interval([trial.metrics[metric] for trial in members]),
            over_clips=_clip_interval(members, column),
            difference=_difference(members, base, column, metric),
            effect=math.nan
            if members is base
            else hedges_g([t.metrics[metric] for t in members], [t.metrics[metric] for t in base]),
        )
        for key, members in groups.items()
    ]


def _clip_interval(trials: Sequence[Trial], column: str) -> Interval:
    values: list[float] = []
    music: list[str] = []
    for trial in trials:
        if trial.evaluation is not None and column in trial.evaluation.scores:
            values += trial.evaluation.scores[column]
            music += trial.evaluation.music
    return cluster_bootstrap(values, music)


def _difference(
    trials: Sequence[Trial], base: Sequence[Trial], column: str, metric: str
) -> Interval:
    """Over (seed, clip) pairs, music redrawn; over seeds alone where there are no rows."""
    if trials is base:
        return Interval(math.nan, math.nan, math.nan, 0, 0)
    by_seed = {trial.values.get(SEED): trial for trial in base}
    values: list[float] = []
    music: list[str] = []
    seeds: list[float] = []
    for trial in trials:
        other = by_seed.get(trial.values.get(SEED))
        if other is None:
            continue
        seeds.append(trial.metrics[metric] - other.metrics[metric])
        mine, theirs = trial.evaluation, other.evaluation
        # Clips of different protocols are not one clip: they drop out here.
        if mine is None or theirs is None or mine.protocol_hash != theirs.protocol_hash:
            continue
        known = dict(zip(theirs.clips, theirs.scores.get(column, ()), strict=False))
        rows = zip(mine.clips, mine.music, mine.scores.get(column, ()), strict=False)
        for clip, piece, value in rows:
            if clip in known:
                values.append(value - known[clip])
                music.append(piece)
    return cluster_bootstrap(values, music) if values else t_interval(seeds)


def _table(conditions: Sequence[Condition], names: Sequence[str], sweep: Sweep) -> Table:
    heads = ("n", sweep.metric, "95% over seeds", "95% over clips", "difference", "Hedges' g")
    rows = tuple(
        (
            *(str(value) for value in condition.values),
            str(len(condition.per_seed)),
            _number(condition.over_seeds.mean),
            _ends(condition.over_seeds),
            _ends(condition.over_clips),
            f"{_number(condition.difference.mean, '+')} {_ends(condition.difference)}".strip(),
            _number(condition.effect, "+", ".2f"),
        )
        for condition in conditions
    )
    caption = f"{sweep.name}: {sweep.metric}, differences to the first row."
    return Table((*names, *heads), rows, caption, frozenset(heads))


def _markdown(
    store: SweepStore, table: Table, trials: Sequence[Trial], conditions: Sequence[Condition]
) -> str:
    sweep = store.sweep
    states = ", ".join(f"{count} {state}" for state, count in sorted(store.states().items()))
    protocols = {trial.evaluation.protocol_hash for trial in trials if trial.evaluation}
    parts = [f"# {sweep.name}", sweep.description.strip(), f"Trials: {states}."]
    if len(protocols) > 1:
        parts.append(
            f"**The trials were scored by {len(protocols)} protocols**; differences are taken "
            "only within one, and means of different ones must not be compared."
        )
    parts += [table.markdown(), "![Means with intervals](figure.svg)"]
    if conditions:
        parts.append(
            "Figure: mean over seeds with the interval over clips (over seeds where there are no "
            "clips); small circles are seeds. Differences are to the first row, paired by seed "
            "and clip; Hedges' g is over seeds. An interval over two or three seeds is wide "
            "because it should be."
        )
    return "\n\n".join(part for part in parts if part)


def _bar(condition: Condition) -> Bar:
    shown = condition.over_clips if condition.over_clips.clips else condition.over_seeds
    return Bar(
        condition.label, condition.over_seeds.mean, shown.low, shown.high, condition.per_seed
    )


def _condition_csv(conditions: Sequence[Condition], names: Sequence[str], metric: str) -> str:
    columns = [
        *names, "n", metric, "seeds_low", "seeds_high", "clips_low", "clips_high",
        "difference", "difference_low", "difference_high", "hedges_g",
    ]  # fmt: skip
    rows = [
        [
            *c.values,
            len(c.per_seed),
            *(c.over_seeds.mean, c.over_seeds.low, c.over_seeds.high),
            *(c.over_clips.low, c.over_clips.high),
            *(c.difference.mean, c.difference.low, c.difference.high),
            c.effect,
        ]
        for c in conditions
    ]
    return csv_text(columns, rows)


def _trial_csv(trials: Sequence[Trial], sweep: Sweep) -> str:
    metrics = sorted({name for trial in trials for name in trial.metrics})
    rows = [
        [
            t.number,
            *(t.values.get(n) for n in sweep.varied),
            *(t.metrics.get(m, "") for m in metrics),
        ]
        for t in trials
    ]
    return csv_text(["trial", *sweep.varied, *metrics], rows)


def _ends(interval: Interval) -> str:
    if not math.isfinite(interval.low):
        return ""
    return f"[{_number(interval.low)}, {_number(interval.high)}]"


def _number(value: float, sign: str = "", form: str = ".3f") -> str:
    return f"{value:{sign}{form}}" if math.isfinite(value) else "–"


def _last(name: str) -> str:
    return name.rsplit(".", 1)[-1]
