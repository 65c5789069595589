"""`dabfusion study metric`: is the alignment score valid?"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HELP = """Is the alignment score valid? Every member of the family against known dances.

Rendered dancers are moved off the beat, shaken, filmed at other rates, compressed and danced to
other rhythms; every published variant is scored beside this project's. Folders of real videos can
be added. Writes report.md, two plots and results.json."""
EXAMPLES = [
    "dabfusion study metric --clips 4                         # a first look",
    "dabfusion study metric --folder theirs=videos/theirs --out metric-study",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the study's arguments."""
    parser.add_argument("--clips", type=int, default=20, help="dances a condition (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first dance")
    parser.add_argument(
        "--folder",
        action="append",
        default=[],
        metavar="TITLE=FOLDER",
        help="also score the videos of a folder, under that title; may be given again",
    )
    parser.add_argument("--out", type=Path, default=Path("metric-study"), help="where to write")


def run(args: argparse.Namespace) -> int:
    """Run the study and write its report."""
    from datamodules.files import write_text
    from experiments.errors import SettingsError
    from experiments.studies.metric.conclusions import conclude
    from experiments.studies.metric.departures import measure_departures
    from experiments.studies.metric.plots import draw_power, draw_sweeps
    from experiments.studies.metric.report import write_report
    from experiments.studies.metric.sweeps import Sweeps, clips_needed
    from metrics import VERSION

    if args.clips < 2:
        raise SettingsError(f"--clips is {args.clips}; expected at least 2.")
    folders = _score_folders(args.folder)
    study = Sweeps(args.clips, args.seed, lambda text: print(text, file=sys.stderr, flush=True))
    sweeps = study.run()
    departures = measure_departures(args.clips, args.seed)
    needed = clips_needed(study.base, (0.1, 0.2, 0.3, 0.5, 0.8), args.seed)
    conclusions = conclude(sweeps, needed, folders)
    settings = {"clips": args.clips, "seed": args.seed, "metric_version": VERSION}
    draw_sweeps(sweeps, args.out / "sweeps.png")
    draw_power(needed, args.out / "power.png")
    report = write_report(sweeps, needed, folders, conclusions, settings, departures)
    write_text(args.out / "report.md", report)
    results: dict[str, Any] = {
        "settings": settings,
        "sweeps": {
            sweep.key: {
                "title": sweep.title,
                "places": sweep.places,
                "means": {m: [round(v, 4) for v in sweep.means(m)] for m in sweep.members()},
            }
            for sweep in sweeps
        },
        "clips_needed": needed,
        "departures": vars(departures),
        "folders": {
            title: {key: vars(interval) for key, interval in means.items()}
            for title, means in folders.items()
        },
    }
    write_text(args.out / "results.json", json.dumps(results, indent=1) + "\n")
    print("\n".join(f"- {line}" for line in conclusions))
    print(f"Written to {args.out}: report.md, sweeps.png, power.png, results.json")
    return 0


def _score_folders(given: list[str]) -> dict[str, Any]:
    from experiments.errors import SettingsError
    from experiments.evaluation.clips import clip_rows, summarise
    from experiments.evaluation.folder import score_folder

    found: dict[str, Any] = {}
    for word in given:
        title, equals, folder = word.partition("=")
        if not (title and equals and folder):
            raise SettingsError(f'--folder is "{word}"; expected TITLE=FOLDER.')
        scores = score_folder(Path(folder))
        for failure in scores.failures:
            print(f"Left out: {failure.name}: {failure.reason}", file=sys.stderr)
        if not scores.clips:
            raise SettingsError(f'None of the videos in "{folder}" could be scored.')
        found[title] = summarise(clip_rows(scores.clips))
    return found
