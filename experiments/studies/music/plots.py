"""The plot of `study music`: what each probe finds, beside the same probe on other music."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from datamodules.files import replacing

#: One colour a music feature.
_COLOURS = ("#0b5fa5", "#d95f02", "#1b9e77", "#7b3294", "#66a61e")


def draw_probes(results: dict[str, Any], path: Path) -> None:
    """One group of bars a target, one bar a music feature, with its interval over pieces.

    A short black line is the same probe on the features of other pieces; a dotted one is always
    naming the commonest class. Bars and intervals that leave the panel are cut off at -0.5.

    Args:
        results: of `music_report.measure`.
        path: PNG file, written whole or not at all.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    features = list(results["clips"])
    targets = list(results["clips"][features[0]])
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 3.8), width_ratios=(len(targets), 1), layout="constrained"
    )
    rows = [results["clips"][name] for name in features]
    _bars(left, targets, features, [[row[target] for target in targets] for row in rows])
    for place, target in enumerate(targets):
        chance = rows[0][target].get("chance")
        if chance is not None:
            left.plot([place - 0.45, place + 0.45], [chance] * 2, ":", color="#333333")
    left.set_title("clips: R² of numbers, accuracy of classes", fontsize=10)
    local = list(results["frames"])
    _bars(right, ["speed"], local, [[results["frames"][name]] for name in local])
    right.set_title("frames: R²", fontsize=10)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(features), fontsize=9)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    plt.close(figure)


def _bars(
    axes: Any, targets: list[str], features: list[str], rows: list[list[dict[str, float]]]
) -> None:
    places, width = np.arange(len(targets)), 0.8 / len(features)
    for number, (name, cells) in enumerate(zip(features, rows, strict=True)):
        at = places + (number - (len(features) - 1) / 2) * width
        means = np.array([cell["mean"] for cell in cells])
        ends = np.array(
            [[cell["mean"] - cell["low"], cell["high"] - cell["mean"]] for cell in cells]
        )
        colour = _COLOURS[number % len(_COLOURS)]
        axes.bar(at, means, 0.9 * width, color=colour, label=name)
        axes.errorbar(at, means, ends.T.clip(0), fmt="none", ecolor="#555555", capsize=2)
        for x, cell in zip(at, cells, strict=True):
            ends_x = [x - 0.45 * width, x + 0.45 * width]
            axes.plot(ends_x, [cell["other_music"]] * 2, color="black", linewidth=1.5)
    axes.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.set_ylim(-0.5, 1.05)
    axes.set_xticks(places, targets, fontsize=8, rotation=15)
    axes.tick_params(axis="y", labelsize=8)
