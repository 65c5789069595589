"""Study 1's report: tables in Markdown, and a plot by genre and speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metrics.functional.bootstrap import Interval, cluster_bootstrap

Row = Mapping[str, Any]

#: Measure, rival, title and unit of the first table; a rival is another column of the rows.
MEASURES = (
    ("epe", "epe_zero", "end-point error where the figure moves", "px"),
    ("angle", None, "angle between found and true motion", "degrees"),
    ("hidden_iou", None, "overlap (IoU) of found and true hidden areas", ""),
    ("change", "change_zero", "error of the flow's change from frame to frame", "px"),
    ("l1", "l1_copy", "foreground L1 of the picture", ""),
    ("l1_ratio", None, "the same as a share of copying", ""),
    ("psnr", "psnr_copy", "foreground PSNR", "dB"),
    ("psnr_gain", None, "foreground PSNR above copying", "dB"),
    ("ssim", "ssim_copy", "SSIM of whole pictures", ""),
    ("between", "between_end", "foreground L1 of the pose in between, from the mean flow", ""),
    ("align_made", "align_true", "2D-MM Align (corrected) of reconstructed clips", ""),
    ("align_lost", None, "what reconstruction loses of it", ""),
)
REAL = (
    ("l1", "l1_copy", "foreground L1 of the picture", ""),
    ("psnr_gain", None, "foreground PSNR above copying", "dB"),
    ("epe_dis", "epe_zero_dis", "distance to DIS flow where it moves", "px"),
    ("epe_farneback", "epe_zero_farneback", "distance to Farneback flow where it moves", "px"),
    ("l1_dis", None, "foreground L1 of the reference warped by DIS", ""),
    ("l1_farneback", None, "foreground L1 of the reference warped by Farneback", ""),
)
SPEEDS = ("slow", "middle", "fast")


def summaries(rows: Sequence[Row]) -> dict[str, Interval]:
    """Mean and 95% interval, clustered by music, of every number of the rows."""
    if not rows:
        return {}
    clusters = [str(row["music"]) for row in rows]
    names = [name for name, value in rows[0].items() if isinstance(value, float)]
    return {name: cluster_bootstrap([row[name] for row in rows], clusters) for name in names}


def by_speed(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows in thirds of their true motion's speed."""
    order = sorted(rows, key=lambda row: row["speed"])
    thirds = np.array_split(np.arange(len(order)), len(SPEEDS))
    return {name: [order[i] for i in third] for name, third in zip(SPEEDS, thirds, strict=True)}


def by_genre(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows by genre."""
    found: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["genre"]):
        found.setdefault(row["genre"], []).append(row)
    return found


def write_report(rendered: Sequence[Row], real: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """The whole report."""
    parts = [
        "# How accurate is the flow?",
        f"`dabfusion study flow`: auto-encoder {settings['autoencoder']}, {settings['clips']} "
        f"rendered dances of held-out persons to held-out music (seed {settings['seed']}), "
        f"{settings['frames']} frames of {settings['size']} pixels, the first one the reference. "
        "Intervals: 95%, bootstrap over pieces of music. The rival of a flow is none at all, of a "
        "picture the reference itself, of a pose in between the better end.",
        "## Rendered dancers",
        _table(rendered, MEASURES),
        "## By speed and genre",
        "![errors by genre and speed](flow.png)",
        _groups({**by_speed(rendered), **by_genre(rendered)}),
    ]
    if real:
        parts += ["## Real clips", f"{len(real)} videos.", _table(real, REAL)]
    return "\n\n".join(parts) + "\n"


def draw_groups(rows: Sequence[Row], path: Path) -> None:
    """End-point error and foreground L1 by genre and speed, as a PNG."""
    from matplotlib.figure import Figure

    groups = {**by_speed(rows), **by_genre(rows)}
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axes, (name, rival, title) in zip(
        figure.subplots(1, 2),
        (("epe", "epe_zero", "End-point error, px"), ("l1", "l1_copy", "Foreground L1")),
        strict=True,
    ):
        for place, group in enumerate(groups.values()):
            found = summaries(group)
            spread = [[found[name].mean - found[name].low], [found[name].high - found[name].mean]]
            axes.bar(place, found[name].mean, color="#3b6ea5")
            if np.isfinite(spread).all():
                axes.errorbar(place, found[name].mean, yerr=spread, color="black", capsize=2)
            axes.plot([place - 0.4, place + 0.4], [found[rival].mean] * 2, color="#b5482f")
        axes.set_xticks(range(len(groups)), list(groups), rotation=60)
        axes.set_title(f"{title} (red: no flow)", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _table(rows: Sequence[Row], measures: Sequence[tuple[str, str | None, str, str]]) -> str:
    found = summaries(rows)
    lines = ["| | found | rival |", "| --- | --- | --- |"]
    for name, rival, title, unit in measures:
        of = f" ({unit})" if unit else ""
        other = str(found[rival]) if rival else ""
        lines.append(f"| {title}{of} | {found[name]} | {other} |")
    return "\n".join(lines)


def _groups(groups: Mapping[str, Sequence[Row]]) -> str:
    names = ("speed", "epe", "epe_zero", "angle", "l1_ratio", "psnr_gain")
    lines = ["| | clips | " + " | ".join(names) + " |", "| --- " * (len(names) + 2) + "|"]
    for group, rows in groups.items():
        found = summaries(rows)
        cells = [f"{found[name].mean:.2f}" for name in names]
        lines.append(f"| {group} | {len(rows)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
