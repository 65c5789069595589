"""``dabfusion study raters build|analyze``: ask people which dance fits the music better."""

import argparse
from pathlib import Path

HELP = """What do human raters see? An offline page of paired videos, and an analysis of answers."""
EXAMPLES = [
    "dabfusion study raters build study --method ours=videos/ours --method theirs=videos/theirs",
    "dabfusion study raters analyze study --answers answers --metrics ours=ours.csv",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions ``build`` and ``analyze`` with their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = actions.add_parser("build", help="make the folder that participants open")
    build.add_argument("out", type=Path, help="new folder for the study")
    build.add_argument(
        "--method",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="a method and its folder of videos with sound; videos with the same file name are "
        "compared (repeat)",
    )
    build.add_argument(
        "--question",
        action="append",
        default=[],
        metavar="NAME=TEXT",
        help="question about every pair (repeat; default: fit=Which dance fits the music better?)",
    )
    build.add_argument("--title", default="Which dance fits the music?", help="title of the page")
    build.add_argument(
        "--trials-per-rater", type=int, default=40, help="pairs that a participant sees; 0: all"
    )
    build.add_argument("--clips", type=int, default=0, help="number of clips drawn; 0: all")
    build.add_argument("--checks", type=int, default=4, help="catch trials with a known answer")
    build.add_argument("--repeats", type=int, default=3, help="pairs shown again, sides swapped")
    build.add_argument("--ties", action="store_true", help="offer the answer `No difference`")
    build.add_argument("--seed", type=int, default=0)

    analyze = actions.add_parser("analyze", aliases=["analyse"], help="analyze the answers")
    analyze.add_argument("study", type=Path, help="the study's folder or its key.json")
    analyze.add_argument("--answers", type=Path, required=True, help="folder of JSON files")
    analyze.add_argument(
        "--metrics",
        action="append",
        default=[],
        metavar="METHOD=CSV",
        help="per-clip scores of a method, as written by `dabfusion evaluate` (repeat)",
    )
    analyze.add_argument("--out", type=Path, help="folder of the report (default: STUDY/report)")
    analyze.add_argument(
        "--max-failed",
        type=float,
        default=0.25,
        help="exclude raters who fail more than this share of the catch trials (default: 0.25)",
    )
    analyze.add_argument("--draws", type=int, default=1000, help="bootstrap draws")
    analyze.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    return _build(args) if args.action == "build" else _analyze(args)


def _build(args: argparse.Namespace) -> int:
    from experiments.processes.progress import shown_progress
    from experiments.studies.raters.build import Question, StudyPlan, build_study

    methods = {name: Path(folder) for name, folder in _named(args.method, "--method").items()}
    asked = _named(args.question, "--question")
    plan = StudyPlan(
        questions=tuple(Question(*item) for item in asked.items()) or StudyPlan.questions,
        trials_per_rater=args.trials_per_rater,
        checks=args.checks,
        repeats=args.repeats,
        ties=args.ties,
        clips=args.clips,
        seed=args.seed,
        title=args.title,
    )
    with shown_progress("encoding videos") as progress:
        page = build_study(args.out, methods, plan, progress)
    print(f"Hand out: {page.parent}  (participants open {page.name})")
    print(f"Keep to yourself: {args.out / 'key.json'}")
    return 0


def _analyze(args: argparse.Namespace) -> int:
    from experiments.studies.raters.analysis import AnalysisOptions, analyze_study
    from experiments.studies.raters.answers import load_key
    from experiments.studies.raters.report import write_report

    metrics = {name: Path(path) for name, path in _named(args.metrics, "--metrics").items()}
    options = AnalysisOptions(args.max_failed, args.draws, args.seed)
    analysis = analyze_study(load_key(args.study), args.answers, metrics, options)
    folder = args.study if args.study.is_dir() else args.study.parent
    report = write_report(analysis, args.out or folder / "report")
    print(report.read_text("utf-8"))
    print(f"Report: {report}")
    return 0


def _named(entries: list[str], option: str) -> dict[str, str]:
    from experiments.errors import SettingsError

    named: dict[str, str] = {}
    for entry in entries:
        name, _, value = entry.partition("=")
        if not name or not value or name in named:
            raise SettingsError(
                f"{option} {entry!r} is not NAME=VALUE with a name of its own; write for example "
                "a=folder."
            )
        named[name] = value
    return named
