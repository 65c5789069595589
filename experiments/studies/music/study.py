"""`dabfusion study music`: do music embeddings predict motion?"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = """Do music features predict motion? Linear probes by feature and by target.

Ridge probes from each music feature (log-mel and chroma, beats; CLAP and Wav2CLIP if their weights
are given) to the motion of clips: energy, motion beats a second, alignment, genre, choreography;
and, frame by frame, to the speed of the next step. Cross-validated by song, with intervals over
songs and the features of other songs as a control; canonical correlation. Writes report.md,
probes.png and results.json."""
EXAMPLES = [
    "dabfusion study music preset=quickstart data=quickstart/prepared",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the study's arguments."""
    parser.add_argument("settings", nargs="+", metavar="key=value", help="data=FOLDER at least")
    parser.add_argument("--clips", type=int, default=400, help="maximum of clips (default: 400)")
    parser.add_argument("--out", type=Path, default=Path("music-study"), help="where to write")


def run(args: argparse.Namespace) -> int:
    """Collect features and motion, fit the probes, write the report."""
    from experiments.config.load import settings_from_words
    from experiments.errors import SettingsError
    from experiments.processes.progress import shown_progress
    from experiments.studies.music.measure import collect, measure
    from experiments.studies.music.report import draw_probes, page
    from experiments.studies.page import write_results

    words = list(args.settings)
    for part in ("clap", "wav2clip"):
        # The frozen encoders are left out unless their weights are given.
        if not any(word.startswith(f"music.{part}_weights=") for word in words):
            words.append(f"music.{part}=false")
    settings = settings_from_words(words)
    if not settings.data:
        raise SettingsError("data= is not given; give the folder that `dabfusion prepare` wrote.")
    if args.clips < 20:
        raise SettingsError(f"--clips is {args.clips}, but probes need at least 20.")
    with shown_progress("Collect features and motion") as progress:
        arrays, table = collect(settings, args.clips, progress)
    songs = table["song"].nunique()
    if songs < 5:
        raise SettingsError(
            f'data="{settings.data}" has {songs} songs, but probes that are tested on other songs '
            "than they are fitted on need at least 5."
        )
    sizes = {"clips": len(table), "songs": songs, "data": Path(settings.data).name}
    results = {"settings": sizes, **measure(arrays, table)}
    text = page(results, args.command)
    write_results(args.out, text, results, ("report.md", "results.json"))
    draw_probes(results, args.out / "probes.png")
    print(text)
    print(f"Written to {args.out}: report.md, probes.png, results.json")
    return 0
