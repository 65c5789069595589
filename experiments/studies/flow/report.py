"""The flow study's page and figures, made from the numbers in `results.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.config.load import to_dict
from experiments.errors import SettingsError
from experiments.reports.tables import markdown_table
from experiments.runs.folder import RunFolder
from experiments.studies.page import (
    draw_bars,
    interval,
    markdown_page,
    new_figure,
    paragraph,
    save_figure,
)
from metrics.functional.bootstrap import Interval, cluster_bootstrap

Row = Mapping[str, Any]
#: A run of stage 1: its title, steps, whether key points supervised it, its settings by dotted
#: name, the last validation scores, and (steps done, foreground PSNR gain in dB) at each.
TrainedRun = dict[str, Any]

#: Titles of the measures.
TITLES = {
    "epe": "end-point error where the figure moves (px)",
    "angle": "angle between found and true motion (degrees)",
    "hidden_iou": "overlap (IoU) of found and true hidden areas",
    "change": "error of the flow's change from frame to frame (px)",
    "l1": "foreground L1 of the frame",
    "l1_ratio": "foreground L1 as a share of copying",
    "psnr": "foreground PSNR (dB)",
    "psnr_gain": "foreground PSNR above copying (dB)",
    "ssim": "SSIM of whole frames",
    "between": "foreground L1 of the pose in between, from the mean flow",
    "between_ratio": "L1 of the pose in between as a share of the better end",
    "align_made": "2D-MM Align (corrected) of reconstructed clips",
    "align_lost": "loss of 2D-MM Align by reconstruction",
    "epe_dis": "distance to DIS flow where it moves (px)",
    "epe_farneback": "distance to Farneback flow where it moves (px)",
    "l1_dis": "foreground L1 of the reference warped by DIS",
    "l1_farneback": "foreground L1 of the reference warped by Farneback",
}
#: Measures of the baseline of a measure: zero flow, copying, the better end, the true clips.
BASELINES = {
    "epe": "epe_zero",
    "change": "change_zero",
    "l1": "l1_copy",
    "psnr": "psnr_copy",
    "ssim": "ssim_copy",
    "between": "between_end",
    "align_made": "align_true",
    "epe_dis": "epe_zero_dis",
    "epe_farneback": "epe_zero_farneback",
}
REAL = ("l1", "psnr_gain", "epe_dis", "epe_farneback", "l1_dis", "l1_farneback")
RENDERED = [name for name in TITLES if not name.endswith(("_dis", "_farneback"))]
#: Measures by which runs are compared, and by which groups of clips are.
COMPARED = [name for name in RENDERED if name not in ("l1", "psnr", "between", "align_made")]
GROUPED = ("epe", "change", "angle", "hidden_iou", "l1_ratio", "psnr_gain", "ssim")
SPEEDS = ("slow", "medium", "fast")
CONTRASTS = ("strong contrast", "medium contrast", "weak contrast")
#: Settings that say where and how a run was kept, not how it was trained.
_APART = ("out", "data", "autoencoder", "resume", "preset", "run.")
_TICKS = (100, 300, 1000, 3000, 10_000, 30_000, 100_000)
SETTING = """{run}, {clips} rendered dances of held-out people to held-out music (seed {seed}),
{frames} frames of {size} pixels; the first frame is the reference. Means over clips; intervals: 95%
bootstrap, resampled by song. The baseline of a flow is zero flow, of a frame the reference itself,
of a pose in between the better of its two ends."""
GROUPS = """Contrast: how far copying the reference is from the truth. Each genre is one song, so
its intervals are over clips."""


def summaries(rows: Sequence[Row]) -> dict[str, Interval]:
    """Return the mean and 95% interval of every number of the rows.

    Clustered by song, or by clip where all dance to the same song.
    """
    if not rows:
        return {}
    clusters = [str(row["music"]) for row in rows]
    if len(set(clusters)) == 1:
        clusters = [f"{row['clip']} {i}" for i, row in enumerate(rows)]
    names = [name for name, value in rows[0].items() if isinstance(value, float)]
    return {name: cluster_bootstrap([row[name] for row in rows], clusters) for name in names}


def thirds(rows: Sequence[Row], by: str, names: Sequence[str]) -> dict[str, list[Row]]:
    """Return the rows in thirds of a measure, from low to high."""
    order = sorted(rows, key=lambda row: row[by])
    parts = np.array_split(np.arange(len(order)), len(names))
    return {name: [order[i] for i in part] for name, part in zip(names, parts, strict=True)}


def by_genre(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows by genre."""
    genres = sorted({row["genre"] for row in rows})
    return {genre: [row for row in rows if row["genre"] == genre] for genre in genres}


def read_run(path: Path) -> TrainedRun:
    """Return what is needed of a run folder of `dabfusion train autoencoder`.

    Raises:
        SettingsError: If it is not a run, or one without a validation.
    """
    folder = RunFolder(path)
    settings = folder.read_settings()
    lines = [line for line in folder.read_metrics() if "val/psnr_gain" in line]
    if not lines:
        raise SettingsError(
            f'"{path}" has no validation of stage 1 in metrics.jsonl: give a run of `dabfusion '
            "train autoencoder` that was validated at least once."
        )
    lines.sort(key=lambda line: line["step"])
    loss, steps = settings.stage1.loss, settings.stage1.train.steps
    labels = max(loss.joints, loss.teacher_flow, loss.teacher_occlusion) > 0
    last = lines[-1].items()
    return {
        "title": f"{steps:,} steps, {'joints' if labels else 'no labels'}",
        "steps": steps,
        "labels": labels,
        "curve": [(line["step"] + 1, line["val/psnr_gain"]) for line in lines],
        "val": {k.removeprefix("val/"): v for k, v in last if k.startswith("val/")},
        "settings": _dotted(to_dict(settings)),
    }


def changes(settings: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    """Return the settings that differ from the first ones, as words of the command line."""
    found = [
        f"{name}={value}"
        for name, value in settings.items()
        if value != first.get(name) and not name.startswith(_APART)
    ]
    return " ".join(found) or "nothing"


def _dotted(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        inner = _dotted(value, f"{prefix}{name}.") if isinstance(value, Mapping) else None
        found |= {f"{prefix}{name}": value} if inner is None else inner
    return found


def page(results: Mapping[str, Any], command: str) -> str:
    """Return the report of the numbers in `results.json`."""
    settings = results["settings"]
    rendered = [row for row in results["clips"] if "genre" in row]
    real = [row for row in results["clips"] if "genre" not in row]
    speeds = thirds(rendered, "speed", SPEEDS)
    groups = {**speeds, **thirds(rendered, "psnr_copy", CONTRASTS), **by_genre(rendered)}
    parts = [
        paragraph(SETTING, **settings),
        "## Rendered dancers",
        _measures(rendered, RENDERED),
        "![Rendered dancers](dancers.png)",
        "## By speed, contrast and genre",
        paragraph(GROUPS),
        "![Errors by genre and speed](flow.png)",
        markdown_table(["", "clips", "speed", *GROUPED], map(_group, groups, groups.values())),
    ]
    if results["beside"]:
        titles = list(results["beside"])
        rows = [
            [TITLES[name], *(interval(results["beside"][run][name]).text(3) for run in titles)]
            for name in COMPARED
        ]
        parts += ["## Labels and length of training", markdown_table(["", *titles], rows)]
    if results["curves"]:
        parts += ["![PSNR gain over steps](curves.png)"]
        parts += ["Validation during training: held-out people, pairs of frames."]
    if results["losses"]:
        first = results["losses"][0]["settings"]
        parts += [
            "## Which losses",
            f"Last validation after {first['stage1.train.steps']:,} steps; one setting changed at "
            "a time.",
            losses_table(results["losses"]),
        ]
    if real:
        parts += [
            "## Real clips",
            f"{len(real)} videos, stage 1 of {settings['videos_run']}, {settings['videos_size']} "
            "pixels. Optical flow is a baseline and a reference point here, not the truth.",
            _measures(real, REAL),
            "![Flow of real clips](videos.png)",
        ]
    return markdown_page("How accurate is the flow?", command, parts)


def losses_table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of each run's last validation and its changes from the first run."""
    names = ("l1_ratio", "l1_ratio_deformed", "psnr_gain")
    columns = ["changed", "L1, share of copying", "of the warp alone", "PSNR above copying, dB"]
    first = runs[0]["settings"]
    rows = [
        [changes(run["settings"], first), *(f"{run['val'][name]:.3f}" for name in names)]
        for run in runs
    ]
    return markdown_table(columns, rows)


def _measures(rows: Sequence[Row], names: Sequence[str]) -> str:
    found = summaries(rows)
    table = []
    for name in names:
        baseline = found[BASELINES[name]].text(3) if name in BASELINES else ""
        table.append([TITLES[name], found[name].text(3), baseline])
    return markdown_table(["", "found", "baseline"], table)


def _group(name: str, rows: Sequence[Row]) -> list[str]:
    found = summaries(rows)
    cells = [found[measure].text() for measure in GROUPED]
    return [name, str(len(rows)), f"{found['speed'].mean:.2f}", *cells]


def draw_groups(rows: Sequence[Row], path: Path) -> None:
    """Draw the end-point error and foreground L1 by speed and genre, and those of zero flow."""
    groups = {**thirds(rows, "speed", SPEEDS), **by_genre(rows)}
    found = [summaries(group) for group in groups.values()]
    figure, panels = new_figure(1, 2, 9, 3.4)
    titles = (("epe", "epe_zero", "End-point error, px"), ("l1", "l1_copy", "Foreground L1"))
    for axes, (name, baseline, title) in zip(panels, titles, strict=True):
        draw_bars(axes, range(len(found)), [one[name] for one in found], color="#3b6ea5")
        for place, one in enumerate(found):
            axes.plot([place - 0.4, place + 0.4], [one[baseline].mean] * 2, color="#b5482f")
        axes.set_xticks(range(len(groups)), list(groups), rotation=60)
        axes.set_title(f"{title} (red: zero flow)", fontsize=10)
    save_figure(figure, path)


def draw_curves(runs: Sequence[TrainedRun], path: Path) -> None:
    """Draw the PSNR gain over the steps done; dashed without labels."""
    figure, (axes,) = new_figure(1, 1, 7, 3.8)
    for number, run in enumerate(sorted(runs, key=lambda run: (run["labels"], run["steps"]))):
        steps, gains = zip(*run["curve"], strict=True)
        style = "o-" if run["labels"] else "s--"
        axes.plot(steps, gains, style, label=run["title"], color=f"C{number}", markersize=3)
    done = [steps for run in runs for steps, _ in run["curve"]]
    axes.set_xscale("log")
    axes.set_xticks(_TICKS, [f"{steps:,}" for steps in _TICKS])
    axes.minorticks_off()
    axes.set_xlim(0.8 * min(done), 1.3 * max(done))
    axes.set(xlabel="optimizer steps done", ylabel="foreground PSNR above copying, dB")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    save_figure(figure, path)
