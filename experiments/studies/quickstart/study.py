"""`dabfusion study quickstart`: what several quickstart runs came to, by seed and by minutes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

HELP = """How much do seed and minutes matter? Quickstart runs side by side on one page."""
EXAMPLES = [
    "dabfusion study quickstart quickstart second long --out results/quickstart",
]

SCORES = ("corrected", "half_beat_off", "shifted", "other_music")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Finished quickstart folders, and where to write."""
    parser.add_argument("folders", nargs="+", type=Path, help="finished quickstart folders")
    parser.add_argument("--out", type=Path, default=Path("quickstart-study"), help="folder")


def run(args: argparse.Namespace) -> int:
    """Write `runs.json`, `README.md` and `curve.png`."""
    from datamodules.files import write_text

    runs = sorted((read_run(folder) for folder in args.folders), key=_order)
    write_text(args.out / "runs.json", json.dumps(runs, indent=1) + "\n")
    write_text(args.out / "README.md", report(runs))
    draw_curve([run for run in runs if run["seed"] == runs[0]["seed"]], args.out / "curve.png")
    print(f"{len(runs)} runs are in {args.out / 'README.md'}.")
    return 0


def _order(run: dict[str, Any]) -> tuple[int, float]:
    return run["seed"], run["minutes"]


def read_run(folder: Path) -> dict[str, Any]:
    """The figures of one finished quickstart.

    Raises:
        SettingsError: the folder holds no finished quickstart.
    """
    from experiments.errors import SettingsError

    try:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        plan = json.loads((folder / "quickstart.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{folder} holds no finished quickstart: let `dabfusion quickstart --out {folder}` end."
        ) from error
    kept = {
        kind: {name: scores[name] for name in SCORES}
        for kind, scores in results["alignment"].items()
    }
    return {
        "seed": results["protocol"]["seed"],
        "minutes": results["protocol"]["minutes"],
        "steps": [plan["settings"][stage]["train"]["steps"] for stage in ("stage1", "stage2")],
        "data": results["protocol"]["data"],
        "alignment": kept,
        "reconstruction": results["reconstruction"],
        "beats": results["beats"],
    }


def report(runs: list[dict[str, Any]]) -> str:
    """The table in Markdown."""
    from experiments.quickstart.report import interval

    lines = [
        "# Quickstart: seeds and minutes",
        "",
        "Rendered (synthetic) dancers, held-out persons and pieces of music, beats as tracked by",
        "librosa on the whole piece. Corrected 2D-MM Align: mean over clips, 95% interval from",
        "redrawing pieces of music. L1 ratio: stage 1 over copying the reference, moving pixels.",
        "Minutes are the `--minutes` of the run, which scale the steps.",
        "",
        "| seed | minutes | steps | generated | half a beat off | stage 1 only | true clips "
        "| L1 ratio | PSNR gain |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for run in runs:
        scores, rebuilt = run["alignment"], run["reconstruction"]
        cells = [
            str(run["seed"]),
            f"{run['minutes']:g}",
            " + ".join(str(steps) for steps in run["steps"]),
            interval(scores["generated"]["corrected"]),
            interval(scores["generated"]["half_beat_off"]),
            interval(scores["reconstructed"]["corrected"]),
            interval(scores["true"]["corrected"]),
            f"{rebuilt['l1_ratio']:.2f}",
            f"{rebuilt['psnr_gain']:.1f} dB",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    clips = runs[0]["alignment"]["generated"]["corrected"]
    beats = runs[0]["beats"]
    lines += [
        "",
        f"{clips['clips']} clips of {clips['clusters']} pieces a run. The beat tracker's F1 "
        f"against the renderer's beats is {beats['f1']:.3f} (70 ms); tempo within 4% on "
        f"{beats['tempo_right']:.0%} of {beats['pieces']:.0f} pieces.",
        "",
        "Each row: `dabfusion quickstart --minutes MINUTES seed=SEED --out FOLDER`; this page:",
        "`dabfusion study quickstart FOLDER... --out experiments/studies/results/quickstart`.",
        "",
        "![Score over minutes](curve.png)",
        "",
    ]
    return "\n".join(lines)


def draw_curve(runs: list[dict[str, Any]], path: Path) -> None:
    """Corrected 2D-MM Align over minutes for the runs of one seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    minutes = [run["minutes"] for run in runs]
    for kind, key, label, colour in (
        ("true", "corrected", "true clips", "#444444"),
        ("reconstructed", "corrected", "stage 1 only", "#1b7837"),
        ("generated", "corrected", "generated", "#2166ac"),
        ("generated", "half_beat_off", "generated, half a beat off", "#b2182b"),
    ):
        values = [run["alignment"][kind][key] for run in runs]
        mean = [value["mean"] for value in values]
        axes.plot(minutes, mean, "o-", color=colour, label=label)
        low, high = [value["low"] for value in values], [value["high"] for value in values]
        axes.fill_between(minutes, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xticks(minutes, [f"{value:g}" for value in minutes])
    axes.minorticks_off()
    axes.set(xlabel="--minutes of the quickstart", ylabel="corrected 2D-MM Align", ylim=(-0.5, 1))
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)
