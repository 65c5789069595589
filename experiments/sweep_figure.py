"""The figure of a sweep: conditions with their controls above, paired differences below."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.sweep_analysis import CONTROLS, Condition, Contrast
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
    heights = [0.5 * len(conditions) + 0.9]
    if contrasts:
        heights.append(0.34 * len(contrasts) + 0.9)
    figure = Figure(figsize=(8.5, sum(heights) + 0.3), layout="constrained")
    panels = figure.subplots(
        len(heights), 1, squeeze=False, sharex=controlled, height_ratios=heights
    )
    _draw_conditions(panels[0, 0], conditions, metric)
    if contrasts:
        _draw_contrasts(panels[1, 0], contrasts, metric)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(
        once.values(), once.keys(), loc="outside upper center", ncols=5,
        frameon=False, handletextpad=0.2, columnspacing=1.4, fontsize=9,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)


def _draw_conditions(axes: "Axes", conditions: Sequence[Condition], metric: str) -> None:
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
    _finish(axes, [c.label for c in conditions], f"{metric}, 95% intervals", bool(shown))


def _draw_contrasts(axes: "Axes", contrasts: Sequence[Contrast], metric: str) -> None:
    for row, contrast in enumerate(contrasts):
        style = ("o", CHANGE)
        _mark(axes, row, contrast.difference.mean, contrast.difference, style, "difference")
        _seeds(axes, row + 0.27, list(contrast.per_seed.values()))
    labels = [
        f"{c.parameter.rsplit('.', 1)[-1]}: {c.first} − {c.second} ({c.where})" for c in contrasts
    ]
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
    axes.set_yticks(range(len(labels)), labels=list(labels))
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelbottom=True)
    axes.set_ylim(len(labels) - 0.45, -0.6)
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(axis="x", color="#e4e4e4", linewidth=0.7)
    if zero:
        axes.axvline(0, color="#8a8a8a", linewidth=1, zorder=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
