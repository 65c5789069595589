"""`dabfusion study metric`: is the alignment score valid?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

HELP = """Is the alignment score valid? Every member of the family on dances with known beats.

Rendered dancers are shifted off the beat, shaken, filmed at other rates, compressed and danced to
other rhythms; every published variant is scored next to this project's. Folders of real videos can
be added. Writes report.md, sweeps.png, power.png and results.json."""
EXAMPLES = [
    "dabfusion study metric --clips 4                         # a first look",
    "dabfusion study metric --folder theirs=videos/theirs --out metric-study",
]
SHARES = (0.1, 0.2, 0.3, 0.5, 0.8)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the study's arguments."""
    parser.add_argument("--clips", type=int, default=20, help="dances a condition (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first dance")
    parser.add_argument(
        "--folder",
        action="append",
        default=[],
        metavar="TITLE=FOLDER",
        help="also score the videos of a folder, under that title; can be repeated",
    )
    parser.add_argument("--out", type=Path, default=Path("metric-study"), help="where to write")


def run(args: argparse.Namespace) -> int:
    """Run the study and write its report."""
    from experiments.errors import SettingsError
    from experiments.processes.progress import shown_progress
    from experiments.studies.metric.departures import measure_departures
    from experiments.studies.metric.report import draw_power, draw_sweeps, page
    from experiments.studies.metric.sweeps import SWEEPS, Dances, clips_needed
    from experiments.studies.page import write_results
    from metrics import VERSION

    if args.clips < 2:
        raise SettingsError(f"--clips is {args.clips}; expected at least 2.")
    folders = _score_folders(args.folder)
    sweeps: dict[str, Any] = {}
    with shown_progress("Score rendered dances") as progress:
        dances = Dances(args.clips, args.seed)
        for done, (key, sweep) in enumerate(SWEEPS.items(), start=1):
            found = dict(sweep.conditions(dances))
            members = next(iter(found.values()))
            means = {m: [float(scores[m].mean()) for scores in found.values()] for m in members}
            sweeps[key] = {"title": sweep.title, "places": list(found), "means": means}
            progress(done, len(SWEEPS))
    results = {
        "settings": {"clips": args.clips, "seed": args.seed, "metric_version": VERSION},
        "sweeps": sweeps,
        "clips_needed": clips_needed(dances.base, SHARES, args.seed),
        "departures": measure_departures(args.clips, args.seed),
        "folders": folders,
    }
    text = page(results, args.command)
    draw_sweeps(sweeps, args.out / "sweeps.png")
    draw_power(results["clips_needed"], args.out / "power.png")
    for sweep in sweeps.values():
        sweep["means"] = {m: [round(x, 4) for x in means] for m, means in sweep["means"].items()}
    write_results(args.out, text, results, ("report.md", "results.json"))
    print(text.split("\n## Everything")[0])
    print(f"Written to {args.out}: report.md, sweeps.png, power.png, results.json")
    return 0


def _score_folders(given: list[str]) -> dict[str, dict[str, Any]]:
    """Means with intervals of each folder by its title."""
    from experiments.errors import SettingsError
    from experiments.evaluation.clips import clip_rows, summarize
    from experiments.evaluation.folder import score_folder

    found = {}
    for word in given:
        title, equals, folder = word.partition("=")
        if not (title and equals and folder):
            raise SettingsError(f'--folder is "{word}"; expected TITLE=FOLDER.')
        scores = score_folder(Path(folder))
        for failure in scores.failures:
            print(f"Left out: {failure.name}: {failure.reason}", file=sys.stderr)
        if not scores.clips:
            raise SettingsError(f'None of the videos in "{folder}" could be scored.')
        found[title] = {k: vars(v) for k, v in summarize(clip_rows(scores.clips)).items()}
    return found
