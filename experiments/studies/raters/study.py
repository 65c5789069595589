"""``dabfusion study raters build|analyze``: ask people which dance fits the music better."""

import argparse
from pathlib import Path
from typing import Any

HELP = """What do human raters see? An offline page of paired videos, and an analysis of answers."""
EXAMPLES = [
    "dabfusion study raters build study --method ours=videos/ours --method theirs=videos/theirs",
    "dabfusion study raters analyze study --answers answers --metrics ours=ours.csv",
]
#: Fields of the study's plan that are options of ``build``.
PLAN = {
    "title": "title of the page",
    "trials_per_rater": "pairs that a participant sees; 0: all",
    "clips": "number of clips that are drawn; 0: all",
    "checks": "catch trials, whose answer is known",
    "repeats": "pairs that are shown again, with the sides swapped",
    "seed": "seed of all that is drawn",
}


class _Named(argparse.Action):
    """Collect NAME=VALUE in a dictionary; the options' ``const`` converts values."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        name, _, value = values.partition("=")
        named = getattr(namespace, self.dest)
        if not name or not value or name in named:
            raise argparse.ArgumentError(
                self, f"{values!r} is not {self.metavar} with a name of its own"
            )
        setattr(namespace, self.dest, {**named, name: self.const(value)})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions ``build`` and ``analyze`` with their options."""
    from experiments.studies.raters.build import StudyPlan

    named: dict[str, Any] = {"action": _Named, "default": {}}
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = actions.add_parser("build", help="make the folder that participants open")
    build.add_argument("out", type=Path, help="new folder for the study")
    text = "a method and its folder of videos with sound; equal file names are compared (repeat)"
    build.add_argument("--method", **named, const=Path, metavar="NAME=FOLDER", help=text)
    text = "question about every pair (repeat; default: Which dance fits the music better?)"
    build.add_argument("--question", **named, const=str, metavar="NAME=TEXT", help=text)
    for name, text in PLAN.items():
        default = getattr(StudyPlan, name)
        option, help_text = f"--{name.replace('_', '-')}", f"{text} (default: {default})"
        build.add_argument(option, type=type(default), default=default, help=help_text)
    build.add_argument("--ties", action="store_true", help="offer the answer `No difference`")

    analyze = actions.add_parser("analyze", aliases=["analyse"], help="analyze the answers")
    analyze.add_argument("study", type=Path, help="the study's folder or its key.json")
    analyze.add_argument("--answers", type=Path, required=True, help="folder of JSON files")
    text = "per-clip scores of a method, as written by `dabfusion evaluate` (repeat)"
    analyze.add_argument("--metrics", **named, const=Path, metavar="METHOD=CSV", help=text)
    analyze.add_argument("--out", type=Path, help="folder of the report (default: STUDY/report)")
    text = "share of catch trials; raters who fail more are excluded (default: 0.25)"
    analyze.add_argument("--max-failed", type=float, default=0.25, help=text)


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    if args.action == "build":
        from experiments.processes.progress import shown_progress
        from experiments.studies.raters.build import StudyPlan, build_study

        options = {name: getattr(args, name) for name in ("ties", *PLAN)}
        if args.question:
            options["questions"] = args.question
        with shown_progress("encoding videos") as progress:
            page = build_study(args.out, args.method, StudyPlan(**options), progress)
        print(f"Hand out: {page.parent}  (participants open {page.name})")
        print(f"Keep to yourself: {args.out / 'key.json'}")
        return 0
    from experiments.studies.raters.analysis import analyze_study
    from experiments.studies.raters.answers import load_key
    from experiments.studies.raters.report import write_report

    analysis = analyze_study(load_key(args.study), args.answers, args.metrics, args.max_failed)
    folder = args.study if args.study.is_dir() else args.study.parent
    report = write_report(analysis, args.out or folder / "report")
    print(report.read_text("utf-8"))
    print(f"Report: {report}")
    return 0
