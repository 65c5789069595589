"""`dabfusion synthesize`: render a data set of dancers and music."""

from __future__ import annotations

import argparse
import shlex

HELP = """Render a data set of dancers and music.

Every video has sound and an AIST name. A file next to it holds its ground truth: beats, joints and
what the true optical flow is computed from. The dancers and songs of the validation and test videos
are not used in training videos. A second run into the same folder renders only missing videos."""

EXAMPLES = [
    "dabfusion synthesize dances                                     # 140 videos, 64x64, 10/s",
    "dabfusion synthesize dances128 synthetic.size=128 synthetic.train_videos=400",
    "dabfusion synthesize hd synthetic.size=1080 synthetic.width=1920 synthetic.fps=60 "
    "synthetic.train_videos=10",
    "dabfusion synthesize stage synthetic.rooms=stage synthetic.routines=0 seed=7",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("out", help="folder to write")
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="seed and synthetic.*, or preset=NAME"
    )


def run(args: argparse.Namespace) -> int:
    """Render the data set, then print what to do next."""
    from experiments.config.load import settings_from_words
    from experiments.factories.preparation import render
    from experiments.processes.progress import shown_progress

    settings = settings_from_words(args.settings)
    with shown_progress("Rendering") as progress:
        names = render(args.out, settings, progress)
    print(f"{len(names)} videos are in {args.out}/videos, their ground truth in {args.out}/truth.")
    # The preset of small networks is for images of this size.
    preset = ["preset=quickstart"] if settings.synthetic.size == 64 else []
    print("Next:", shlex.join(["dabfusion", "prepare", args.out, f"{args.out}-prepared", *preset]))
    return 0
