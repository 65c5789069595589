"""`dabfusion study quickstart`: scores of several quickstart runs by seed and by minutes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HELP = """How much do seed and training time matter? Compares several finished quickstart runs.

Writes README.md, curve.png and runs.json."""
EXAMPLES = ["dabfusion study quickstart quickstart second long --out results/quickstart"]
SCORES = ("corrected", "half_beat_off", "shifted", "other_music")
#: Scores that are shown: kind of clips, name of the score, heading and color.
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

    runs = sorted(map(read_run, args.folders), key=lambda run: (run["seed"], run["minutes"]))
    write_results(args.out, page(runs, args.command), runs, ("README.md", "runs.json"))
    draw_curve([found for found in runs if found["seed"] == runs[0]["seed"]], args.out)
    print(f"{len(runs)} runs are in {args.out / 'README.md'}.")
    return 0


def read_run(folder: Path) -> dict[str, Any]:
    """Return the scores of one finished quickstart, as `runs.json` holds them."""
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
        **{name: results["protocol"][name] for name in ("seed", "minutes", "data")},
        "steps": [plan["settings"][stage]["train"]["steps"] for stage in ("stage1", "stage2")],
        "alignment": {kind: {name: scores[name] for name in SCORES} for kind, scores in alignment},
        **{name: results[name] for name in ("reconstruction", "beats")},
    }


def page(runs: Sequence[dict[str, Any]], command: str) -> str:
    """Return the page of the numbers in `runs.json`."""
    from experiments.studies.page import fill_template, interval

    values = {"runs": runs, "shown": SHOWN, "interval": interval, "command": command}
    return fill_template(Path(__file__).with_name("report.md.j2"), **values)


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
