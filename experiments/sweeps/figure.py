"""The figure of a sweep: conditions with their controls above, paired differences below."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiments.sweeps.analysis import CONTROLS, label_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, VIOLET, GRAY = "#0b5f8a", "#6a3d9a", "#7d7d7d"
#: Marker, color and place within the row (0 is its middle) of each control.
CONTROL_MARKS = {
    "half_beat_off": ("D", "#c1440e", -0.08),
    "shifted": ("s", "#9a6b00", -0.22),
    "other_music": ("^", "#5b5b5b", -0.36),
}
#: Rows that the figure shows; the tables have all of them.
MAX_ROWS = 40
#: Characters in a line of a row's label, and inches that a line needs.
LABEL_WIDTH, LINE_INCHES = 44, 0.17


def draw_sweep(
    conditions: pd.DataFrame,
    contrasts: pd.DataFrame,
    names: Sequence[str],
    metric: str,
    path: Path,
) -> None:
    """Draw the figure and save it.

    Args:
        conditions: From `analysis.conditions`; the line is the interval over clips, or over seeds
            if there are no clips.
        contrasts: From `analysis.contrasts`; may be empty.
        names: The parameters that make up a condition.
        metric: Title of the axis.
        path: SVG or PNG file to write.
    """
    from matplotlib.figure import Figure

    conditions, contrasts = conditions.head(MAX_ROWS), contrasts.head(MAX_ROWS)
    labels = [_wrap(label_of(names, row)) for row in conditions[list(names)].to_numpy().tolist()]
    changes = [
        _wrap(f"{pair['parameter'].rsplit('.', 1)[-1]}: {pair['first']} − {pair['second']} "
              f"({pair['where']})")
        for pair in contrasts.to_dict("records")
    ]  # fmt: skip
    heights = [_inches(labels, 0.5), *([_inches(changes, 0.34)] if changes else [])]
    # With controls around 0 both panels share an axis; a loss of 3 and its changes do not.
    controls = [name for name in CONTROLS if conditions[name].notna().any()]
    figure = Figure(figsize=(8.5, sum(heights) + 0.3), layout="constrained")
    panels = figure.subplots(
        len(heights), 1, squeeze=False, sharex=bool(controls), height_ratios=heights
    )[:, 0]
    over_clips = conditions["clips_low"].notna().any()
    ends = ("clips_low", "clips_high") if over_clips else ("seeds_low", "seeds_high")
    title = "own music" if controls else "mean"
    _draw(panels[0], conditions, (metric, *ends), ("o", BLUE, 0.1), title)
    _draw_seeds(panels[0], list(conditions["each"]), 0.3)
    for name in controls:
        columns = (name, f"{name}_low", f"{name}_high")
        _draw(panels[0], conditions, columns, CONTROL_MARKS[name], CONTROLS[name])
    _finish(panels[0], labels, f"{metric}, 95% intervals", bool(controls))
    if changes:
        columns = ("difference", "low", "high")
        _draw(panels[1], contrasts, columns, ("o", VIOLET, 0.0), "difference")
        _draw_seeds(panels[1], [list(each.values()) for each in contrasts["each_seed"]], 0.27)
        _finish(panels[1], changes, f"paired differences of {metric}, 95% intervals", True)
    handles, texts = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, texts, loc="outside upper center", ncols=5,
        frameon=False, handletextpad=0.2, columnspacing=1.4, fontsize=9,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)


def _wrap(label: str) -> str:
    return textwrap.fill(label, LABEL_WIDTH, break_on_hyphens=False)


def _inches(labels: Sequence[str], min_row: float) -> float:
    """Return the height of a panel whose rows hold the longest label."""
    lines = max((label.count("\n") + 1 for label in labels), default=1)
    return max(min_row, LINE_INCHES * lines) * len(labels) + 0.9


def _draw(
    axes: "Axes",
    rows: pd.DataFrame,
    columns: tuple[str, str, str],
    mark: tuple[str, str, float],
    label: str,
) -> None:
    """Draw means with their intervals, from the columns of the mean and of both ends."""
    mean, low, high = (rows[name].to_numpy(float) for name in columns)
    marker, color, place = mark
    axes.errorbar(
        mean, np.arange(len(rows)) + place, xerr=np.maximum([mean - low, high - mean], 0),
        fmt=marker, color=color, ms=6 if marker == "o" else 4.5, elinewidth=1.8, label=label,
    )  # fmt: skip


def _draw_seeds(axes: "Axes", values: Sequence[Sequence[float]], place: float) -> None:
    rows = np.repeat(np.arange(len(values)), [len(each) for each in values]) + place
    axes.plot(
        np.concatenate([*values, []]),
        rows,
        "o",
        mfc="none",
        color=GRAY,
        ms=3.5,
        label="single seeds",
    )


def _finish(axes: "Axes", labels: Sequence[str], title: str, zero: bool) -> None:
    axes.set_yticks(range(len(labels)), labels=list(labels), fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelbottom=True)
    axes.set_ylim(len(labels) - 0.45, -0.6)
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(axis="x", color="#e4e4e4", linewidth=0.7)
    if zero:
        axes.axvline(0, color="#8a8a8a", linewidth=1, zorder=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
