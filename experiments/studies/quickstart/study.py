"""`dabfusion study quickstart`: scores of several quickstart runs by seed and by minutes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HELP = """How much do seed and training time matter? Compares several finished quickstart runs.

Writes README.md, curve.png and runs.json."""
EXAMPLES = [
    "dabfusion study quickstart quickstart second long --out results/quickstart",
]
SCORES = ("corrected", "half_beat_off", "shifted", "other_music")
EXPLANATION = """Rendered (synthetic) dancers, held-out people and songs, beats tracked by librosa
on the whole song. Corrected 2D-MM Align: mean over clips, 95% bootstrap interval, resampled by
song; a control shifts the beats by half a beat. L1 ratio: error of stage 1 as a share of the
error of copying the reference, on moving pixels. Minutes are the `--minutes` of the run, which
scale the steps. Each row: `dabfusion quickstart --minutes MINUTES seed=SEED --out FOLDER`."""
#: Rows of runs.json that are shown: kind of clips, score, heading and color.
SHOWN = (
    ("generated", "corrected", "generated", "#2166ac"),
    ("generated", "half_beat_off", "generated, shifted", "#b2182b"),
    ("reconstructed", "corrected", "stage 1 only", "#1b7837"),
    ("true", "corrected", "true clips", "#444444"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the study's arguments."""
    parser.add_argument("folders", nargs="+", type=Path, help="finished quickstart folders")
    parser.add_argument("--out", type=Path, default=Path("quickstart-study"), help="folder")


def run(args: argparse.Namespace) -> int:
    """Write the page, the curve and the numbers."""
    from experiments.studies.page import write_results

    runs = [read_run(folder) for folder in args.folders]
    runs.sort(key=lambda found: (found["seed"], found["minutes"]))
    write_results(args.out, page(runs, args.command), runs, ("README.md", "runs.json"))
    draw_curve([found for found in runs if found["seed"] == runs[0]["seed"]], args.out)
    print(f"{len(runs)} runs are in {args.out / 'README.md'}.")
    return 0


def read_run(folder: Path) -> dict[str, Any]:
    """Return the scores of one finished quickstart.

    Raises:
        SettingsError: If the folder has no finished quickstart.
    """
    from experiments.errors import SettingsError

    try:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        plan = json.loads((folder / "quickstart.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{folder} is not a finished quickstart: run `dabfusion quickstart --out {folder}` to "
            "its end first."
        ) from error
    alignment = results["alignment"].items()
    return {
        "seed": results["protocol"]["seed"],
        "minutes": results["protocol"]["minutes"],
        "steps": [plan["settings"][stage]["train"]["steps"] for stage in ("stage1", "stage2")],
        "data": results["protocol"]["data"],
        "alignment": {kind: {name: scores[name] for name in SCORES} for kind, scores in alignment},
        "reconstruction": results["reconstruction"],
        "beats": results["beats"],
    }


def page(runs: Sequence[dict[str, Any]], command: str) -> str:
    """Return the page of the numbers in `runs.json`."""
    from experiments.reports.tables import markdown_table
    from experiments.studies.page import interval, markdown_page, paragraph

    rows = []
    for run in runs:
        scores, rebuilt = run["alignment"], run["reconstruction"]
        rows.append(
            [
                str(run["seed"]),
                f"{run['minutes']:g}",
                " + ".join(map(str, run["steps"])),
                *(interval(scores[kind][name]).text() for kind, name, *_ in SHOWN),
                f"{rebuilt['l1_ratio']:.2f}",
                f"{rebuilt['psnr_gain']:.1f} dB",
            ]
        )
    headings = [heading for *_, heading, _ in SHOWN]
    columns = ["seed", "minutes", "steps", *headings, "L1 ratio", "PSNR gain"]
    clips, beats = runs[0]["alignment"]["generated"]["corrected"], runs[0]["beats"]
    parts = [
        paragraph(EXPLANATION),
        markdown_table(columns, rows),
        f"{clips['clips']} clips of {clips['clusters']} songs in each run. F1 of the beat tracker "
        f"against the renderer's beats: {beats['f1']:.3f} (70 ms); tempo within 4% for "
        f"{beats['tempo_right']:.0%} of {beats['pieces']:.0f} songs.",
        "![Score over minutes](curve.png)",
    ]
    return markdown_page("Quickstart: seeds and minutes", command, parts)


def draw_curve(runs: Sequence[dict[str, Any]], out: Path) -> None:
    """Draw corrected 2D-MM Align over minutes for the runs of one seed."""
    from experiments.studies.page import draw_band, interval, new_figure, save_figure

    figure, (axes,) = new_figure(1, 1, 6, 3.6)
    minutes = [run["minutes"] for run in runs]
    for kind, name, label, color in SHOWN:
        values = [interval(run["alignment"][kind][name]) for run in runs]
        draw_band(axes, minutes, values, label=label, color=color)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xticks(minutes, [f"{value:g}" for value in minutes])
    axes.minorticks_off()
    axes.set(xlabel="--minutes of the quickstart", ylabel="corrected 2D-MM Align", ylim=(-0.5, 1))
    axes.legend(frameon=False, fontsize=8)
    save_figure(figure, out / "curve.png")
