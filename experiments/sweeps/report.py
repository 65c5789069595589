"""The report of a sweep: tables as Markdown, LaTeX and CSV, a figure, and the rows behind them."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from datamodules.files import write_text
from experiments.reports.tables import Table, csv_text
from experiments.sweeps.analysis import (
    CONTROLS,
    SEED,
    Condition,
    Contrast,
    Trial,
    column_of,
    conditions,
    contrasts,
    read_trials,
    text_of,
)
from experiments.sweeps.figure import draw_sweep
from experiments.sweeps.grammar import Sweep
from experiments.sweeps.store import SweepStore
from metrics.functional.bootstrap import Interval

#: Rows of a table; trials.csv holds all.
MOST_ROWS = 60
FILES = (
    "Files: `table.csv`, `differences.csv` (unrounded), `tables.tex`, `trials.csv` (one row a "
    "trial) and `clips.csv` (one row a clip and trial), from which all of it can be computed again."
)


def write_sweep_report(store: SweepStore, out: Path) -> Path:
    """Write ``report.md``, ``tables.tex``, ``table.csv``, ``differences.csv``, ``trials.csv``,
    ``clips.csv`` and ``figure.svg``, from the trials' own files.

    Returns:
        The path of ``report.md``.
    """
    sweep = store.sweep
    trials = read_trials(store)
    names = [name for name in sweep.varied if name != SEED]
    if sweep.method != "grid":
        # No seeds to average and nothing to pair: the best trials, the best one first.
        trials.sort(key=lambda t: t.metrics[sweep.metric], reverse=sweep.maximise)
    found = conditions(trials, names, sweep.metric)[:MOST_ROWS]
    pairs = contrasts(trials, names, sweep.metric) if sweep.method == "grid" else []
    tables = [_condition_table(found, names, sweep)]
    if pairs:
        tables.append(_contrast_table(pairs, sweep))
    write_text(out / "tables.tex", "\n\n".join(table.latex() for table in tables) + "\n")
    write_text(out / "table.csv", _condition_csv(found, names, sweep.metric))
    write_text(out / "differences.csv", _contrast_csv(pairs))
    write_text(out / "trials.csv", _trial_csv(trials, sweep))
    write_text(out / "clips.csv", _clip_csv(trials, sweep))
    draw_sweep(found, pairs, sweep.metric, out / "figure.svg")
    report = out / "report.md"
    write_text(report, _markdown(store, tables, trials, found, pairs) + "\n")
    return report


def _condition_table(found: Sequence[Condition], names: Sequence[str], sweep: Sweep) -> Table:
    shown = [name for name in CONTROLS if any(name in c.controls for c in found)]
    controls = tuple(CONTROLS[name] for name in shown)
    heads = ("seeds", sweep.metric, "95% over seeds", "95% over clips", *controls)
    rows = tuple(
        (
            *(text_of(value) for value in condition.values),
            str(len(condition.per_seed)),
            number(condition.over_seeds.mean),
            ends(condition.over_seeds),
            ends(condition.over_clips),
            *(interval(condition.controls.get(name)) for name in shown),
        )
        for condition in found
    )
    return Table(
        (*names, *heads), rows, f"{sweep.name}: {sweep.metric} by condition.", frozenset(heads)
    )


def _contrast_table(pairs: Sequence[Contrast], sweep: Sweep) -> Table:
    heads = ("difference", "95% over clips", "each seed", "same sign", "d_z")
    rows = tuple(
        (
            pair.parameter,
            f"{pair.first} − {pair.second}",
            pair.where,
            number(pair.difference.mean, "+"),
            ends(pair.difference),
            " ".join(number(value, "+") for value in pair.per_seed.values()),
            ("yes" if pair.same_sign else "no") if len(pair.per_seed) > 1 else "–",
            number(pair.effect, "+", ".2f"),
        )
        for pair in pairs
    )
    caption = f"{sweep.name}: paired differences of {sweep.metric}."
    return Table(("parameter", "change", "where", *heads), rows, caption, frozenset(heads))


def _markdown(
    store: SweepStore,
    tables: Sequence[Table],
    trials: Sequence[Trial],
    found: Sequence[Condition],
    pairs: Sequence[Contrast],
) -> str:
    sweep = store.sweep
    states = ", ".join(f"{count} {state}" for state, count in sorted(store.states().items()))
    parts = [f"# {sweep.name}", f"{sweep.description.strip()}.".replace("..", ".")]
    parts += [f"Trials: {states}. {_clip_count(trials)}".strip()]
    protocols = {trial.evaluation.protocol_hash for trial in trials if trial.evaluation}
    if len(protocols) > 1:
        parts.append(
            f"**The trials were scored by {len(protocols)} protocols**; differences are taken "
            "only within one, and means of different ones must not be compared."
        )
    parts += ["## Conditions", tables[0].markdown()]
    if any(condition.controls for condition in found):
        parts.append(
            "Controls score the same dances against music moved by half a beat, moved by 16 even "
            "shifts, and against other pieces: a dance that follows its own music falls to chance, "
            "which is 0, or below."
        )
    if pairs:
        parts += ["## Differences", tables[1].markdown()]
        parts.append(
            "One parameter changed, all else the same: differences of the same clip and seed, "
            "with a 95% interval that redraws pieces of music, the mean of each seed, and Cohen's "
            "d_z over clips. `all` pools the values of the other parameters."
        )
    parts += ["## Figure", "![Means, controls and differences with intervals](figure.svg)"]
    if found:
        parts.append(
            "Dots are means over seeds, lines intervals over clips (over seeds where there are no "
            "clips), small circles single seeds. An interval over two or three seeds is wide "
            "because it should be."
        )
    parts.append(FILES)
    return "\n\n".join(part for part in parts if part)


def _clip_count(trials: Sequence[Trial]) -> str:
    evaluations = [trial.evaluation for trial in trials if trial.evaluation]
    clips = {len(evaluation.clips) for evaluation in evaluations}
    if len(clips) != 1:
        return ""
    pieces = len({music for evaluation in evaluations for music in evaluation.music})
    return f"Each was scored on {clips.pop()} held-out clips of {pieces} pieces of music."


def _condition_csv(found: Sequence[Condition], names: Sequence[str], metric: str) -> str:
    columns = [*names, "seeds", metric, "seeds_low", "seeds_high", "clips_low", "clips_high"]
    columns += [f"{name}{end}" for name in CONTROLS for end in ("", "_low", "_high")]
    nothing = Interval(math.nan, math.nan, math.nan, 0, 0)
    rows = []
    for c in found:
        controls = [c.controls.get(name, nothing) for name in CONTROLS]
        rows.append(
            [
                *c.values,
                len(c.per_seed),
                *(c.over_seeds.mean, c.over_seeds.low, c.over_seeds.high),
                *(c.over_clips.low, c.over_clips.high),
                *(end for o in controls for end in (o.mean, o.low, o.high)),
            ]
        )
    return csv_text(columns, rows)


def _contrast_csv(pairs: Sequence[Contrast]) -> str:
    columns = ["parameter", "first", "second", "where", "difference", "low", "high", "pairs"]
    columns += ["pieces", "each_seed", "same_sign", "d_z"]
    rows = [
        [
            *(p.parameter, p.first, p.second, p.where),
            *(p.difference.mean, p.difference.low, p.difference.high),
            *(p.difference.clips, p.difference.clusters),
            json.dumps({str(seed): value for seed, value in p.per_seed.items()}),
            *(p.same_sign, p.effect),
        ]
        for p in pairs
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


def _clip_csv(trials: Sequence[Trial], sweep: Sweep) -> str:
    wanted = dict.fromkeys([column_of(sweep.metric), *CONTROLS])
    columns = [
        name for name in wanted if any(t.evaluation and name in t.evaluation.scores for t in trials)
    ]
    rows = []
    for trial in trials:
        if trial.evaluation is None:
            continue
        blank = (math.nan,) * len(trial.evaluation.clips)
        scores = [trial.evaluation.scores.get(name, blank) for name in columns]
        values = [trial.values.get(name) for name in sweep.varied]
        named = zip(trial.evaluation.clips, trial.evaluation.music, *scores, strict=True)
        rows += [[trial.number, *values, *row] for row in named]
    return csv_text(["trial", *sweep.varied, "clip", "music_id", *columns], rows)


def interval(over: Interval | None) -> str:
    """``0.123 [0.100, 0.150]``; a dash where there is none."""
    return f"{number(over.mean)} {ends(over)}".strip() if over else "–"


def ends(over: Interval) -> str:
    """``[0.100, 0.150]``; empty where there is none."""
    return f"[{number(over.low)}, {number(over.high)}]" if math.isfinite(over.low) else ""


def number(value: float, sign: str = "", form: str = ".3f") -> str:
    """Three decimals; a dash where there is no number."""
    return f"{value:{sign}{form}}" if math.isfinite(value) else "–"
