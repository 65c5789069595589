"""The figure of a sweep: conditions with their controls above, paired differences below."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.sweeps.analysis import CONTROLS, Condition, Contrast
from metrics.functional.bootstrap import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OWN, CHANGE, SEEDS = "#0b5f8a", "#6a3d9a", "#7d7d7d"
#: Marker, colour and place within the row (0 is its middle) of each control.
CONTROL_MARKS = {
    "half_beat_off": ("D", "#c1440e", -0.08),
    "shifted": ("s", "#9a6b00", -0.22),
    "other_music": ("^", "#5b5b5b", -0.36),
}
OWN_PLACE, SEED_PLACE = 0.1, 0.3
#: Rows that a figure can show; the tables hold all.
MOST_ROWS = 40
#: Letters of a line beside a row, and inches that a line needs.
LABEL_WIDTH, LINE_INCHES = 44, 0.17


def draw_sweep(
    conditions: Sequence[Condition], contrasts: Sequence[Contrast], metric: str, path: Path
) -> None:
    """Draw and save the figure.

    Args:
        conditions: from the top down; the interval is over clips, over seeds where there are none.
        contrasts: drawn below them; may be empty.
        metric: written below the axis.
        path: SVG or PNG.
    """
    from matplotlib.figure import Figure

    conditions, contrasts = conditions[:MOST_ROWS], contrasts[:MOST_ROWS]
    # With controls around 0 both panels share their zero; a loss of 3 and its changes do not.
    controlled = any(condition.controls for condition in conditions)
    names = [_wrapped(condition.label) for condition in conditions]
    changes = [_change(contrast) for contrast in contrasts]
    heights = [_row_inches(names, 0.5) * len(names) + 0.9]
    if contrasts:
        heights.append(_row_inches(changes, 0.34) * len(changes) + 0.9)
    figure = Figure(figsize=(8.5, sum(heights) + 0.3), layout="constrained")
    panels = figure.subplots(
        len(heights), 1, squeeze=False, sharex=controlled, height_ratios=heights
    )
    _draw_conditions(panels[0, 0], conditions, names, metric)
    if contrasts:
        _draw_contrasts(panels[1, 0], contrasts, changes, metric)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(
        once.values(), once.keys(), loc="outside upper center", ncols=5,
        frameon=False, handletextpad=0.2, columnspacing=1.4, fontsize=9,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)


def _wrapped(label: str) -> str:
    """A long list of settings on several lines."""
    return textwrap.fill(label, LABEL_WIDTH, break_on_hyphens=False) if label else label


def _change(contrast: Contrast) -> str:
    name = contrast.parameter.rsplit(".", 1)[-1]
    whole = f"{name}: {contrast.first} − {contrast.second} ({contrast.where})"
    if len(whole) <= LABEL_WIDTH:
        return whole
    first, second = f"{name}: {contrast.first}", f"− {contrast.second} ({contrast.where})"
    return f"{_wrapped(first)}\n{_wrapped(second)}"


def _row_inches(labels: Sequence[str], least: float) -> float:
    """The height of a row that holds the longest label."""
    lines = max((label.count("\n") + 1 for label in labels), default=1)
    return max(least, LINE_INCHES * lines)


def _draw_conditions(
    axes: "Axes", conditions: Sequence[Condition], labels: Sequence[str], metric: str
) -> None:
    shown = [name for name in CONTROLS if any(name in c.controls for c in conditions)]
    for row, condition in enumerate(conditions):
        over = condition.over_clips if condition.over_clips.clips else condition.over_seeds
        label = "own music" if shown else "mean"
        _mark(axes, row + OWN_PLACE, condition.over_seeds.mean, over, ("o", OWN), label)
        _seeds(axes, row + SEED_PLACE, condition.per_seed)
        for name in shown:
            if name in condition.controls:
                marker, colour, place = CONTROL_MARKS[name]
                over = condition.controls[name]
                _mark(axes, row + place, over.mean, over, (marker, colour), CONTROLS[name])
    _finish(axes, labels, f"{metric}, 95% intervals", bool(shown))


def _draw_contrasts(
    axes: "Axes", contrasts: Sequence[Contrast], labels: Sequence[str], metric: str
) -> None:
    for row, contrast in enumerate(contrasts):
        style = ("o", CHANGE)
        _mark(axes, row, contrast.difference.mean, contrast.difference, style, "difference")
        _seeds(axes, row + 0.27, list(contrast.per_seed.values()))
    _finish(axes, labels, f"paired differences of {metric}, 95% intervals", True)


def _mark(
    axes: "Axes", row: float, mean: float, over: Interval, style: tuple[str, str], label: str
) -> None:
    marker, colour = style
    if not math.isnan(over.low):
        axes.plot([over.low, over.high], [row, row], color=colour, linewidth=1.8)
    size = 6 if marker == "o" else 4.5
    axes.plot([mean], [row], marker, color=colour, ms=size, label=label, linestyle="none")


def _seeds(axes: "Axes", row: float, values: Sequence[float]) -> None:
    rows = [row] * len(values)
    axes.plot(values, rows, "o", mfc="none", color=SEEDS, ms=3.5, label="single seeds")


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
