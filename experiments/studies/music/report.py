"""The music study's page and figure, made from the numbers in `results.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.reports.tables import markdown_table
from experiments.studies.page import draw_bars, fill_template, interval, new_figure, save_figure


def page(results: Mapping[str, Any], command: str) -> str:
    """Return the report of the numbers in `results.json`."""

    def cell(row: Mapping[str, float]) -> str:
        return f"{interval(row).text(2)} ({row['other_music']:.2f})"

    table = []
    for name, rows in results["clips"].items():
        pair = results["canonical"][name]
        table.append([name, *map(cell, rows.values()), f"{pair['own']:.2f} ({pair['other']:.2f})"])
    steps = [[name, cell(row)] for name, row in results["frames"].items()]
    return fill_template(
        Path(__file__).with_name("report.md.j2"),
        command=command,
        settings=results["settings"],
        probes=markdown_table(["music feature", *rows, "canonical correlation"], table),
        classes={target: row for target, row in rows.items() if "chance" in row},
        steps=markdown_table(["music feature", "R^2"], steps),
    )


def draw_probes(results: Mapping[str, Any], path: Path) -> None:
    """Draw a group of bars for each target, a bar for each music feature, with intervals.

    A short black line is the same probe on the features of other songs; a dotted one is the share
    of the most frequent class. Bars and intervals below -0.5 are cut off.
    """
    frames = {name: {"speed": row} for name, row in results["frames"].items()}
    targets = next(iter(results["clips"].values()))
    figure, panels = new_figure(1, 2, 11, 3.8, width_ratios=(len(targets), 1))
    for axes, features in zip(panels, (results["clips"], frames), strict=True):
        width = 0.8 / len(features)
        for number, (name, rows) in enumerate(features.items()):
            x = np.arange(len(rows)) + (number - (len(features) - 1) / 2) * width
            draw_bars(axes, list(x), list(map(interval, rows.values())), 0.9 * width, label=name)
            others = [row["other_music"] for row in rows.values()]
            axes.hlines(others, x - 0.45 * width, x + 0.45 * width, color="black")
            axes.set_xticks(range(len(rows)), list(rows), fontsize=8, rotation=15)
        axes.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        axes.set_ylim(-0.5, 1.05)
    for place, row in enumerate(targets.values()):
        if "chance" in row:
            panels[0].hlines(row["chance"], place - 0.45, place + 0.45, "#333333", ":")
    panels[0].set_title("clips: R² of numbers, accuracy of classes", fontsize=10)
    panels[1].set_title("frames: R²", fontsize=10)
    legend = panels[0].get_legend_handles_labels()
    figure.legend(*legend, loc="outside lower center", ncols=len(legend[1]), fontsize=9)
    save_figure(figure, path, dpi=110)
