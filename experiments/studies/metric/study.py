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
    from experiments.studies.metric import report, sweeps
    from experiments.studies.metric.members import Dances, clips_needed
    from experiments.studies.page import write_results
    from metrics import VERSION

    if args.clips < 2:
        raise SettingsError(f"--clips is {args.clips}; expected at least 2.")
    results: dict[str, Any] = {
        "settings": {"clips": args.clips, "seed": args.seed, "metric_version": VERSION},
        "sweeps": {},
    }
    folders = _score_folders(args.folder)
    dances = Dances(args.clips, args.seed)
    with shown_progress("Score rendered dances") as progress:
        for key, sweep in sweeps.SWEEPS.items():
            results["sweeps"][key] = sweeps.measure_sweep(sweep, dances)
            progress(len(results["sweeps"]), len(sweeps.SWEEPS))
    results["clips_needed"] = clips_needed(dances.perform(), SHARES, args.seed)
    results["departures"] = sweeps.measure_departures(args.clips, args.seed)
    results["folders"] = folders
    text = report.page(results, args.command)
    report.draw_sweeps(results["sweeps"], args.out / "sweeps.png")
    report.draw_power(results["clips_needed"], args.out / "power.png")
    write_results(args.out, text, results, ("report.md", "results.json"))
    print(text.split("\n## Everything")[0])
    print(f"Written to {args.out}: report.md, sweeps.png, power.png, results.json")
    return 0


def _score_folders(given: list[str]) -> dict[str, dict[str, Any]]:
    """Return means with intervals of each folder by its title."""
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
