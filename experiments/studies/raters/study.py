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
    from experiments.studies.raters.analysis import AnalysisOptions
    from experiments.studies.raters.build import StudyPlan

    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = actions.add_parser("build", help="make the folder that participants open")
    build.add_argument("out", type=Path, help="new folder for the study")
    methods = "a method and its folder of videos with sound; equal file names are compared (repeat)"
    _repeatable(build, "--method", "NAME=FOLDER", methods)
    question = "question about every pair (repeat; default: Which dance fits the music better?)"
    _repeatable(build, "--question", "NAME=TEXT", question)
    _with_defaults(
        build,
        StudyPlan,
        title="title of the page",
        trials_per_rater="pairs that a participant sees; 0: all",
        clips="number of clips that are drawn; 0: all",
        checks="catch trials, whose answer is known",
        repeats="pairs that are shown again, with the sides swapped",
        seed="seed of all that is drawn",
    )
    build.add_argument("--ties", action="store_true", help="offer the answer `No difference`")

    analyze = actions.add_parser("analyze", aliases=["analyse"], help="analyze the answers")
    analyze.add_argument("study", type=Path, help="the study's folder or its key.json")
    analyze.add_argument("--answers", type=Path, required=True, help="folder of JSON files")
    metrics = "per-clip scores of a method, as written by `dabfusion evaluate` (repeat)"
    _repeatable(analyze, "--metrics", "METHOD=CSV", metrics)
    analyze.add_argument("--out", type=Path, help="folder of the report (default: STUDY/report)")
    _with_defaults(
        analyze,
        AnalysisOptions,
        max_failed="share of catch trials; raters who fail more are excluded",
        draws="bootstrap draws",
        seed="seed of the bootstrap",
    )


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    return _build(args) if args.action == "build" else _analyze(args)


def _build(args: argparse.Namespace) -> int:
    from experiments.processes.progress import shown_progress
    from experiments.studies.raters.build import Question, StudyPlan, build_study

    methods = {name: Path(folder) for name, folder in _named(args.method, "--method").items()}
    questions = tuple(Question(*item) for item in _named(args.question, "--question").items())
    plan = StudyPlan(
        questions=questions or StudyPlan.questions,
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


def _repeatable(parser: argparse.ArgumentParser, name: str, metavar: str, text: str) -> None:
    parser.add_argument(name, action="append", default=[], metavar=metavar, help=text)


def _with_defaults(parser: argparse.ArgumentParser, options: type, **texts: str) -> None:
    """Declare an option for each field of a dataclass that has a text, with its default."""
    for field, text in texts.items():
        default = getattr(options, field)
        name = f"--{field.replace('_', '-')}"
        help_text = f"{text} (default: {default})"
        parser.add_argument(name, type=type(default), default=default, help=help_text)


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
