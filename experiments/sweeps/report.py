"""The report of a sweep: tables as Markdown, LaTeX and CSV, a figure, and the rows behind them."""

import json
import math
from pathlib import Path

import pandas as pd

from datamodules.files import write_text
from experiments.reports.tables import markdown_table
from experiments.sweeps.analysis import CONTROLS, SEED, conditions, contrasts, read_trials
from experiments.sweeps.figure import draw_sweep
from experiments.sweeps.grammar import Sweep
from experiments.sweeps.store import SweepStore
from metrics.functional.bootstrap import Interval

#: Rows of a table; trials.csv has all of them.
MAX_ROWS = 60
CONTROLS_TEXT = (
    "Controls score the same dances against music shifted by half a beat, by 16 even shifts, and "
    "against other songs: a dance that follows its own music falls to chance, which is 0, or below."
)
DIFFERENCES_TEXT = (
    "One parameter changed, all else equal: differences of the same clip and seed with a 95% "
    "interval (bootstrap, resampled by song), the mean of each seed, and Cohen's d_z over clips. "
    "`all` pools the values of the other parameters."
)
FIGURE_TEXT = (
    "Dots are means over seeds, lines intervals over clips (over seeds if there are no clips), "
    "small circles single seeds. An interval over two or three seeds is wide, as it should be."
)
FILES_TEXT = (
    "Files: `table.csv`, `differences.csv` (unrounded), `tables.tex`, `trials.csv` (one row per "
    "trial) and `clips.csv` (one row per clip and trial), from which the tables can be recomputed."
)


def write_sweep_report(store: SweepStore, out: Path) -> Path:
    """Write ``report.md``, ``tables.tex``, ``table.csv``, ``differences.csv``, ``trials.csv``,
    ``clips.csv`` and ``figure.svg`` from the files of the trials.

    Args:
        store: The sweep.
        out: Folder to write to.

    Returns:
        The path of ``report.md``.
    """
    sweep = store.sweep
    trials, clips = read_trials(store)
    names = [name for name in sweep.varied if name != SEED]
    grid = sweep.method == "grid"
    if not grid:
        # There are no seeds to average and nothing to pair: list the best trials first.
        trials = trials.sort_values(sweep.metric, ascending=not sweep.maximize, kind="stable")
    found = conditions(trials, clips, names, sweep.metric).head(MAX_ROWS)
    pairs = contrasts(trials, clips, names, sweep.metric) if grid else pd.DataFrame()
    tables = {f"{sweep.name}: {sweep.metric} by condition.": _condition_table(found, names, sweep)}
    if len(pairs):
        tables[f"{sweep.name}: paired differences of {sweep.metric}."] = _contrast_table(pairs)
    latex = [
        table.to_latex(index=False, escape=True, caption=caption.replace("_", r"\_"))
        for caption, table in tables.items()
    ]
    write_text(out / "tables.tex", "\n".join(latex).replace("−", "$-$").replace("–", "--"))
    csv_tables = {
        "table": found.drop(columns="each", errors="ignore"),
        "differences": pairs.assign(each_seed=[json.dumps(e) for e in pairs.get("each_seed", [])]),
        "trials": trials if SEED in sweep.varied else trials.drop(columns=SEED),
        "clips": (clips if SEED in sweep.varied else clips.drop(columns=SEED)).drop(
            columns=["protocol", *(name for name in CONTROLS if clips[name].isna().all())]
        ),
    }
    for name, table in csv_tables.items():
        write_text(out / f"{name}.csv", table.to_csv(index=False))
    if len(found):
        draw_sweep(found, pairs, names, sweep.metric, out / "figure.svg")
    write_text(out / "report.md", _markdown(store, clips, list(tables.values()), found) + "\n")
    return out / "report.md"


def _condition_table(found: pd.DataFrame, names: list[str], sweep: Sweep) -> pd.DataFrame:
    rows = [
        {
            **{name: row[name] for name in names},
            "seeds": row["seeds"],
            sweep.metric: _number(row[sweep.metric]),
            "95% over seeds": _ends(row["seeds_low"], row["seeds_high"]),
            "95% over clips": _ends(row["clips_low"], row["clips_high"]),
            **{
                title: _interval(row[name], row[f"{name}_low"], row[f"{name}_high"])
                for name, title in CONTROLS.items()
                if found[name].notna().any()
            },
        }
        for row in found.to_dict("records")
    ]
    return pd.DataFrame(rows)


def _contrast_table(pairs: pd.DataFrame) -> pd.DataFrame:
    rows = [
        {
            "parameter": pair["parameter"],
            "change": f"{pair['first']} − {pair['second']}",
            "where": pair["where"],
            "difference": _number(pair["difference"], "+"),
            "95% over clips": _ends(pair["low"], pair["high"]),
            "each seed": " ".join(_number(value, "+") for value in pair["each_seed"].values()),
            "same sign": ("yes" if pair["same_sign"] else "no")
            if len(pair["each_seed"]) > 1
            else "–",
            "d_z": f"{pair['d_z']:+.2f}" if math.isfinite(pair["d_z"]) else "–",
        }
        for pair in pairs.to_dict("records")
    ]
    return pd.DataFrame(rows)


def _markdown(
    store: SweepStore, clips: pd.DataFrame, tables: list[pd.DataFrame], found: pd.DataFrame
) -> str:
    sweep = store.sweep
    states = ", ".join(f"{count} {state}" for state, count in sorted(store.states().items()))
    counts = clips.groupby("trial")["clip"].size()
    scored = (
        f" Each was scored on {counts.iloc[0]} held-out clips of {clips['music_id'].nunique()} "
        "songs."
        if counts.nunique() == 1
        else ""
    )
    protocols = clips["protocol"].nunique()
    warning = (
        f"**The trials were scored by {protocols} protocols**; differences are taken only within "
        "one, and means of different ones must not be compared."
        if protocols > 1
        else ""
    )
    text = [markdown_table(list(map(str, table)), table.to_numpy().tolist()) for table in tables]
    parts = [
        f"# {sweep.name}",
        f"{sweep.description.strip().rstrip('.')}.",
        f"Trials: {states}.{scored}",
        warning,
    ]
    if len(found):
        controlled = found[list(CONTROLS)].notna().any(axis=None)
        parts += ["## Conditions", text[0], CONTROLS_TEXT if controlled else ""]
        parts += ["## Differences", text[1], DIFFERENCES_TEXT] if len(text) > 1 else []
        parts += ["## Figure", "![Means, controls and differences](figure.svg)", FIGURE_TEXT]
    return "\n\n".join(part for part in [*parts, FILES_TEXT] if part)


def _interval(mean: float, low: float, high: float) -> str:
    return Interval(mean, low, high, 0, 0).text(3) if math.isfinite(mean) else "–"


def _ends(low: float, high: float) -> str:
    return f"[{low:.3f}, {high:.3f}]" if math.isfinite(low) else ""


def _number(value: float, sign: str = "") -> str:
    return f"{value:{sign}.3f}" if math.isfinite(value) else "–"
