"""`dabfusion quickstart`: every step from rendered dancers to scored videos."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = """Do every step in minutes: render dancers, train both stages, generate, score, show.

It needs two CPU cores, 4 GB of memory and half a gigabyte of disk. Ctrl-C stops it, and the same
command resumes. --minutes scales the training steps and does not consult the clock, so that the
same command gives the same result."""

EXAMPLES = [
    "dabfusion quickstart                         # about nine minutes",
    "dabfusion quickstart --minutes 1             # every step, hardly any training",
    "dabfusion quickstart --minutes 40 --out long # better dances",
    "dabfusion quickstart seed=1 --out second     # another seed",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("--minutes", type=float, default=9.0, help="budget on two cores (9)")
    add("--out", type=Path, default=Path("quickstart"), help="folder (quickstart)")
    add("settings", nargs="*", metavar="key=value", help="seed=N, or any setting of the preset")


def run(args: argparse.Namespace) -> int:
    """Do every step, then print where the results are."""
    from experiments.quickstart.plan import plan_quickstart

    plan = plan_quickstart(args.out, args.minutes, args.settings)
    from experiments.quickstart.steps import run_quickstart  # after the settings are checked

    run_quickstart(plan)
    return 0
