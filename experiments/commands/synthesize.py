"""`dabfusion synthesize`: render a data set of dancers."""

from __future__ import annotations

import argparse
import shlex

HELP = """Render dancers and music into a data set.

Every video has sound, an AIST name and, beside it, what is true of it: beats, joints and what true
flow is made from. Persons and pieces of music of the validation and test videos occur nowhere
else. A second run into the same folder renders only what is missing."""

EXAMPLES = [
    "dabfusion synthesize dances                                     # 140 videos, 64x64, 10/s",
    "dabfusion synthesize dances128 synthetic.size=128 synthetic.train_videos=400",
    "dabfusion synthesize hd synthetic.size=1080 synthetic.width=1920 synthetic.fps=60 "
    "synthetic.train_videos=10",
    "dabfusion synthesize stage synthetic.rooms=stage synthetic.routines=0 seed=7",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("out", help="folder to write; made if it does not exist")
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="seed and synthetic.*, or preset=NAME"
    )


def run(args: argparse.Namespace) -> int:
    """Render with a progress bar, then say what to do next."""
    from rich.progress import Progress

    from experiments.config.load import settings_from_words
    from experiments.factories.preparation import render

    settings = settings_from_words(args.settings)
    with Progress() as bar:
        task = bar.add_task("Rendering", total=None)
        names = render(
            args.out, settings, lambda done, total: bar.update(task, completed=done, total=total)
        )
    print(
        f"{len(names)} videos are in {args.out}/videos, what is true of them in {args.out}/truth."
    )
    # The preset of small networks is for pictures of this size.
    preset = ["preset=quickstart"] if settings.synthetic.size == 64 else []
    print("Next:", shlex.join(["dabfusion", "prepare", args.out, f"{args.out}-prepared", *preset]))
    return 0
