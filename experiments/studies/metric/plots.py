"""Plots of the metric study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.files import replacing
from experiments.studies.metric.members import MEMBERS
from experiments.studies.metric.sweeps import Sweep

#: One colour and line a member in every plot; ours in full lines, published ones dashed.
STYLES: dict[str, tuple[str, str]] = {
    "corrected": ("#0b5fa5", "-"),
    "raw": ("#8fbcdf", "-"),
    "music_to_motion": ("#1b9e77", "-"),
    "corrected_keypoints": ("#7b3294", "-"),
    "f1": ("#e6ab6b", "-"),
    "f1_corrected": ("#d95f02", "-"),
    "phase_cosine": ("#333333", "-"),
    "mint": ("#c51b7d", "--"),
    "bailando": ("#66a61e", "--"),
    "mace": ("#a6761d", "--"),
    "av_align": ("#888888", "--"),
}


def draw_sweeps(sweeps: Sequence[Sweep], path: Path, columns: int = 3) -> None:
    """One panel a sweep: the mean of every member against what is turned.

    Args:
        sweeps: what to draw.
        path: PNG file, written whole or not at all.
        columns: panels beside each other.
    """
    rows = -(-len(sweeps) // columns)
    figure, grid = _canvas(rows, columns)
    for axes, sweep in zip(grid.flat, sweeps, strict=False):
        numbers = _is_number(sweep.places[0])
        for member in sweep.members():
            colour, line = STYLES[member]
            # Named conditions have no order that a line could follow.
            axes.plot(
                sweep.values,
                sweep.means(member),
                line if numbers else " ",
                color=colour,
                linewidth=1.5,
                marker=".",
                markersize=4 if numbers else 7,
                label=MEMBERS[member][0],
            )
        axes.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        axes.set_title(sweep.title, fontsize=10)
        axes.set_xlabel(sweep.unit, fontsize=9)
        axes.set_ylim(-1.05, 1.05)
        axes.tick_params(labelsize=8)
        if not numbers:
            axes.set_xticks(sweep.values, sweep.places, rotation=40, ha="right")
    _finish(figure, grid, len(sweeps), path)


def draw_power(needed: dict[str, dict[str, float]], path: Path) -> None:
    """Clips needed against the share of beats hit.

    Args:
        needed: from `clips_needed`.
        path: PNG file.
    """
    figure, grid = _canvas(1, 1)
    axes = grid.flat[0]
    for member, counts in needed.items():
        shares = [float(share) for share in counts]
        colour, line = STYLES[member]
        axes.plot(
            shares, list(counts.values()), line, color=colour, marker="o", markersize=4,
            label=MEMBERS[member][0],
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    shares = [float(share) for share in next(iter(needed.values()))]
    axes.set_xticks(shares, [f"{share:g}" for share in shares])
    axes.minorticks_off()
    axes.set_xlabel("share of beats hit", fontsize=9)
    axes.set_ylabel("clips needed (80% power, 5% level)", fontsize=9)
    axes.grid(alpha=0.3)
    _finish(figure, grid, 1, path)


def _canvas(rows: int, columns: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    # A bare Figure needs no display and leaves pyplot's state alone.
    figure = Figure(figsize=(4.6 * columns + 0.4, 3.5 * rows + 0.6), layout="constrained")
    return figure, np.atleast_2d(figure.subplots(rows, columns, squeeze=False))


def _finish(figure: Any, grid: Any, used: int, path: Path) -> None:
    for axes in list(grid.flat)[used:]:
        axes.set_axis_off()
    handles: dict[str, Any] = {}
    for axes in grid.flat:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", fontsize=8, frameon=False,
        ncols=4 if grid.size > 1 else 2,
    )  # fmt: skip
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=90, format="png")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
