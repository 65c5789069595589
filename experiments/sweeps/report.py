"""The report of a sweep: tables as Markdown, LaTeX and CSV, a figure, and the rows behind them."""

import json
import textwrap
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from datamodules.files import write_text
from experiments.reports.tables import format_ends, format_number, markdown_table
from experiments.sweeps.analysis import (
    CONTROLS,
    SEED,
    conditions,
    contrasts,
    label_of,
    read_trials,
)
from experiments.sweeps.store import SweepStore
from metrics.functional.bootstrap import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Title, columns of the mean and of its ends, marker, color, and place in the row (0: its middle).
Mark = tuple[str, tuple[str, str, str], str, str, float]
CONTROL_MARKS = {
    "half_beat_off": ("D", "#c1440e", -0.08),
    "shifted": ("s", "#9a6b00", -0.22),
    "other_music": ("^", "#5b5b5b", -0.36),
}
BLUE, VIOLET, GRAY = "#0b5f8a", "#6a3d9a", "#7d7d7d"
#: Rows of a table and of the figure; trials.csv and the tables have all of them.
TABLE_ROWS, FIGURE_ROWS = 60, 40
#: Characters in a line of a row's label, and inches that a line needs.
LABEL_WIDTH, LINE_INCHES = 44, 0.17
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
    ``clips.csv`` and ``figure.svg`` from the files of the trials; return the path of the first."""
    sweep, metric = store.sweep, store.sweep.metric
    trials, clips = read_trials(store)
    names = [name for name in sweep.varied if name != SEED]
    grid = sweep.method == "grid"
    if not grid:
        # There are no seeds to average and nothing to pair: list the best trials first.
        trials = trials.sort_values(metric, ascending=not sweep.maximize, kind="stable")
    found = conditions(trials, clips, names, metric).head(TABLE_ROWS)
    pairs = contrasts(trials, clips, names, metric) if grid else pd.DataFrame()
    controls = [name for name in CONTROLS if clips[name].notna().any()]
    unused = [*([] if SEED in sweep.varied else [SEED]), *(set(CONTROLS) - set(controls))]
    csv_tables = {
        "table": found.drop(columns="each", errors="ignore"),
        "differences": pairs.assign(each_seed=[json.dumps(e) for e in pairs.get("each_seed", [])]),
        "trials": trials.drop(columns=unused, errors="ignore"),
        "clips": clips.drop(columns=["protocol", *unused]),
    }
    for name, table in csv_tables.items():
        write_text(out / f"{name}.csv", table.to_csv(index=False))
    cells = [_condition_cells(row, names, metric, controls) for row in found.to_dict("records")]
    tables = {f"{sweep.name}: {metric} by condition.": pd.DataFrame(cells)}
    if len(pairs):
        cells = [_contrast_cells(row) for row in pairs.to_dict("records")]
        tables[f"{sweep.name}: paired differences of {metric}."] = pd.DataFrame(cells)
    latex = [
        table.to_latex(index=False, escape=True, caption=caption.replace("_", r"\_"))
        for caption, table in tables.items()
    ]
    write_text(out / "tables.tex", "\n".join(latex).replace("−", "$-$").replace("–", "--"))

    shown = [markdown_table(list(map(str, t)), t.to_numpy().tolist()) for t in tables.values()]
    parts = [f"# {sweep.name}", f"{sweep.description.strip().rstrip('.')}.", *_counts(store, clips)]
    if len(found):
        draw_sweep(found, pairs, names, metric, out / "figure.svg")
        parts += ["## Conditions", shown[0], *([CONTROLS_TEXT] if controls else [])]
        parts += ["## Differences", shown[1], DIFFERENCES_TEXT] if len(pairs) else []
        parts += ["## Figure", "![Means, controls and differences](figure.svg)", FIGURE_TEXT]
    write_text(out / "report.md", "\n\n".join([*parts, FILES_TEXT]) + "\n")
    return out / "report.md"


def draw_sweep(
    conditions: pd.DataFrame, contrasts: pd.DataFrame, names: Sequence[str], metric: str, path: Path
) -> None:
    """Draw the tables of `analysis.conditions` and `analysis.contrasts` to an SVG or PNG file.

    Lines are intervals over clips, or over seeds if there are no clips. ``contrasts`` may be empty.
    """
    from matplotlib.figure import Figure

    conditions, contrasts = conditions.head(FIGURE_ROWS), contrasts.head(FIGURE_ROWS)
    labels = [label_of(names, row) for row in conditions[list(names)].to_numpy().tolist()]
    controls = [name for name in CONTROLS if conditions[name].notna().any()]
    over = "clips" if conditions["clips_low"].notna().any() else "seeds"
    ends = (metric, f"{over}_low", f"{over}_high")
    marks: list[Mark] = [("own music" if controls else "mean", ends, "o", BLUE, 0.1)]
    for name in controls:
        columns = (name, f"{name}_low", f"{name}_high")
        marks.append((CONTROLS[name], columns, *CONTROL_MARKS[name]))
    changes = [
        f"{row['parameter'].rsplit('.', 1)[-1]}: {row['first']} − {row['second']} ({row['where']})"
        for row in contrasts.to_dict("records")
    ]
    heights = [_inches(labels, 0.5), *([_inches(changes, 0.34)] if changes else [])]
    # With controls around 0 both panels share an axis; a loss of 3 and its changes do not.
    figure = Figure(figsize=(8.5, sum(heights) + 0.3), layout="constrained")
    panels = figure.subplots(
        len(heights), 1, squeeze=False, sharex=bool(controls), height_ratios=heights
    )[:, 0]
    _draw_panel(panels[0], conditions, labels, marks, list(conditions["each"]), 0.3)
    panels[0].set_title(f"{metric}, 95% intervals", loc="left", fontsize=10)
    if changes:
        marks = [("difference", ("difference", "low", "high"), "o", VIOLET, 0.0)]
        seeds = [list(each.values()) for each in contrasts["each_seed"]]
        _draw_panel(panels[1], contrasts, changes, marks, seeds, 0.27)
        title = f"paired differences of {metric}, 95% intervals"
        panels[1].set_title(title, loc="left", fontsize=10)
    for axes in panels if controls else panels[1:]:
        axes.axvline(0, color="#8a8a8a", linewidth=1, zorder=0.5)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=5,
        frameon=False, handletextpad=0.2, columnspacing=1.4, fontsize=9,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)


def _condition_cells(
    row: Mapping[Hashable, Any], names: list[str], metric: str, controls: list[str]
) -> dict[str, object]:
    cells = {name: row[name] for name in [*names, "seeds"]} | {metric: format_number(row[metric])}
    cells |= {f"95% over {over}": _ends(row, f"{over}_") for over in ("seeds", "clips")}
    for name in controls:
        cells[CONTROLS[name]] = f"{format_number(row[name])} {_ends(row, f'{name}_')}".strip()
    return cells


def _contrast_cells(row: Mapping[Hashable, Any]) -> dict[str, object]:
    signs = row["each_seed"]
    return {
        "parameter": row["parameter"],
        "change": f"{row['first']} − {row['second']}",
        "where": row["where"],
        "difference": format_number(row["difference"], "+"),
        "95% over clips": _ends(row),
        "each seed": " ".join(format_number(value, "+") for value in signs.values()),
        "same sign": ("yes" if row["same_sign"] else "no") if len(signs) > 1 else "–",
        "d_z": format_number(row["d_z"], "+"),
    }


def _ends(row: Mapping[Hashable, Any], prefix: str = "") -> str:
    return format_ends(Interval(0, row[f"{prefix}low"], row[f"{prefix}high"], 0, 0))


def _counts(store: SweepStore, clips: pd.DataFrame) -> list[str]:
    """Return sentences on the trials' states, their clips, and a warning if protocols differ."""
    states = ", ".join(f"{count} {state}" for state, count in sorted(store.states().items()))
    counts, protocols = clips.groupby("trial")["clip"].size(), clips["protocol"].nunique()
    said = [f"Trials: {states}."]
    if counts.nunique() == 1:
        songs = clips["music_id"].nunique()
        said[0] += f" Each was scored on {counts.iloc[0]} held-out clips of {songs} songs."
    if protocols > 1:
        said.append(
            f"**The trials were scored by {protocols} protocols**; differences are taken only "
            "within one, and means of different ones must not be compared."
        )
    return said


def _wrap(label: str) -> str:
    return textwrap.fill(label, LABEL_WIDTH, break_on_hyphens=False)


def _inches(labels: Sequence[str], min_row: float) -> float:
    """Return the height of a panel whose rows hold the longest label."""
    lines = max((_wrap(label).count("\n") + 1 for label in labels), default=1)
    return max(min_row, LINE_INCHES * lines) * len(labels) + 0.9


def _draw_panel(
    axes: "Axes",
    rows: pd.DataFrame,
    labels: Sequence[str],
    marks: Sequence[Mark],
    seeds: Sequence[Sequence[float]],
    seeds_place: float,
) -> None:
    """Draw the marks of each row with their intervals, and a small circle for each seed."""
    places = np.arange(len(rows))
    for title, columns, marker, color, place in marks:
        mean, low, high = (rows[name].to_numpy(float) for name in columns)
        axes.errorbar(
            mean, places + place, xerr=np.maximum([mean - low, high - mean], 0), fmt=marker,
            color=color, ms=6 if marker == "o" else 4.5, elinewidth=1.8, label=title,
        )  # fmt: skip
    axes.plot(
        np.concatenate(seeds), np.repeat(places, [len(each) for each in seeds]) + seeds_place,
        "o", mfc="none", color=GRAY, ms=3.5, label="single seeds",
    )  # fmt: skip
    axes.set_yticks(places, labels=[_wrap(label) for label in labels], fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelbottom=True)
    axes.set_ylim(len(labels) - 0.45, -0.6)
    axes.grid(axis="x", color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
