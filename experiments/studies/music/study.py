"""`dabfusion study music`: does the music embedding carry motion?"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

HELP = """Do music features carry what matters for motion? Probes by feature and by target.

Ridge probes from each music feature (log-mel and chroma, beats; CLAP and Wav2CLIP where their
weights are given) to the motion of clips: energy, motion beats a second, alignment, genre,
choreography; and, frame by frame, to the speed of the next step. Cross-validated by piece of music,
with intervals over pieces and the features of other pieces as control; canonical correlation.
Writes report.md, probes.png and results.json."""
EXAMPLES = [
    "dabfusion study music preset=quickstart data=quickstart/prepared",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the study's arguments."""
    parser.add_argument("settings", nargs="+", metavar="key=value", help="data=FOLDER at least")
    parser.add_argument("--clips", type=int, default=400, help="clips at most (default: 400)")
    parser.add_argument("--out", type=Path, default=Path("music-study"), help="where to write")


def run(args: argparse.Namespace) -> int:
    """Collect features and motion, probe, write the report."""
    from datamodules.files import write_text
    from experiments.config.load import settings_from_words
    from experiments.errors import SettingsError
    from experiments.studies.music.measure import collect
    from experiments.studies.music.plots import draw_probes
    from experiments.studies.music.report import measure, report

    words = list(args.settings)
    for part in ("clap", "wav2clip"):
        # Unless their weights are given, the study does without the frozen encoders.
        if not any(word.startswith(f"music.{part}_weights=") for word in words):
            words.append(f"music.{part}=false")
    settings = settings_from_words(words)
    if not settings.data:
        raise SettingsError("data= is not given; give the folder that `dabfusion prepare` wrote.")
    if args.clips < 20:
        raise SettingsError(f"--clips is {args.clips}, but probes need at least 20.")

    def progress(done: int, total: int) -> None:
        print(f"\r{done}/{total} clips", end="" if done < total else "\n", file=sys.stderr)

    found = collect(settings, args.clips, progress)
    if len(set(found.music)) < 5:
        raise SettingsError(
            f'data="{settings.data}" has {len(set(found.music))} pieces of music, and probes that '
            "are tested on other pieces than they learnt from need at least 5."
        )
    results = measure(found)
    text = report(results, len(found.music), len(set(found.music)), settings.data)
    write_text(args.out / "report.md", text)
    write_text(args.out / "results.json", json.dumps(results, indent=1) + "\n")
    draw_probes(results, args.out / "probes.png")
    print(text)
    print(f"Written to {args.out}: report.md, probes.png, results.json")
    return 0
