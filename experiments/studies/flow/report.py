"""Study 1's report: tables in Markdown, and a plot by genre and speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.studies.flow.runs import TrainedRun, table_of_losses, table_of_runs
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
CONTRASTS = ("strong contrast", "middle contrast", "faint")


def summaries(rows: Sequence[Row]) -> dict[str, Interval]:
    """Mean and 95% interval of every number of the rows.

    Clustered by music, or by clip where all dance to the same piece.
    """
    if not rows:
        return {}
    clusters = [str(row["music"]) for row in rows]
    if len(set(clusters)) == 1:
        clusters = [f"{row['clip']} {i}" for i, row in enumerate(rows)]
    names = [name for name, value in rows[0].items() if isinstance(value, float)]
    return {name: cluster_bootstrap([row[name] for row in rows], clusters) for name in names}


def by_speed(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows in thirds of their true motion's speed."""
    order = sorted(rows, key=lambda row: row["speed"])
    thirds = np.array_split(np.arange(len(order)), len(SPEEDS))
    return {name: [order[i] for i in third] for name, third in zip(SPEEDS, thirds, strict=True)}


def by_contrast(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows in thirds of how well copying scores: a faint figure is already nearly its wall."""
    order = sorted(rows, key=lambda row: row["psnr_copy"])
    thirds = np.array_split(np.arange(len(order)), len(CONTRASTS))
    return {name: [order[i] for i in t] for name, t in zip(CONTRASTS, thirds, strict=True)}


def by_genre(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows by genre."""
    found: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["genre"]):
        found.setdefault(row["genre"], []).append(row)
    return found


@dataclass(frozen=True)
class Comparison:
    """Trainings beside each other; empty lists leave their section out."""

    measured: Sequence[tuple[TrainedRun, Mapping[str, Interval]]] = ()
    """Runs that were measured on the rendered clips, the report's own first."""
    curves: Sequence[TrainedRun] = ()
    losses: Sequence[TrainedRun] = ()


def write_report(
    rendered: Sequence[Row],
    real: Sequence[Row],
    settings: Mapping[str, Any],
    compared: Comparison,
) -> str:
    """The whole report in Markdown; its pictures lie beside it."""
    parts = [
        "# How accurate is the flow?",
        f"`dabfusion study flow`: {settings['run']}, {settings['clips']} rendered dances of "
        f"held-out persons to held-out music (seed {settings['seed']}), {settings['frames']} "
        f"frames of {settings['size']} pixels, the first one the reference. Means over clips; "
        "intervals: 95%, bootstrap over pieces of music. The rival of a flow is none at all, of a "
        "picture the reference itself, of a pose in between the better end.",
        "## Rendered dancers",
        _table(rendered, MEASURES),
        "![rendered dancers](dancers.png)",
        "## By speed, contrast and genre",
        "Contrast: how far copying is from the truth. Each genre is one piece of music, so its "
        "intervals are over clips.",
        "![errors by genre and speed](flow.png)",
        _groups({**by_speed(rendered), **by_contrast(rendered), **by_genre(rendered)}),
    ]
    if compared.measured:
        parts += ["## Labels and length of training", table_of_runs(compared.measured)]
        parts += ["![gain over steps](curves.png)"]
        parts += ["Validation during training: held-out persons, pairs of frames."]
    if compared.losses:
        first = compared.losses[0]
        parts += [
            "## Which losses",
            f"Last validation after {first.title}; one setting changed at a time.",
            table_of_losses(compared.losses),
        ]
    if real:
        parts += [
            "## Real clips",
            f"{len(real)} videos, stage 1 of {settings['videos_run']}, {settings['videos_size']} "
            "pixels. Optical flow serves as a rival and as a yardstick, not as the truth.",
            _table(real, REAL),
            "![flow of real clips](videos.png)",
        ]
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
    names = ("epe", "change", "angle", "hidden_iou", "l1_ratio", "psnr_gain", "ssim")
    lines = ["| | clips | speed | " + " | ".join(names) + " |"]
    lines.append("| --- " * (len(names) + 3) + "|")
    for group, rows in groups.items():
        found = summaries(rows)
        cells = [f"{found['speed'].mean:.2f}"]
        for name in names:
            of = found[name]
            ends = f" [{of.low:.2f}, {of.high:.2f}]" if np.isfinite(of.low) else ""
            cells.append(f"{of.mean:.2f}{ends}")
        lines.append(f"| {group} | {len(rows)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
