"""``dabfusion study raters build|analyse``: ask people which dance fits the music, and count."""

import argparse
from pathlib import Path

HELP = """What do people see? An offline page of paired videos, and what their answers say."""
EXAMPLES = [
    "dabfusion study raters build study --method ours=videos/ours --method theirs=videos/theirs",
    "dabfusion study raters analyse study --answers answers --metrics ours=ours.csv",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Two actions, ``build`` and ``analyse``, each with its own options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = actions.add_parser("build", help="make the folder that participants open")
    build.add_argument("out", type=Path, help="new folder for the study")
    build.add_argument(
        "--method",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="a method and its folder of videos with sound; same file name, same clip (repeat)",
    )
    build.add_argument(
        "--question",
        action="append",
        default=[],
        metavar="NAME=TEXT",
        help="asked of every pair (repeat; default: fit=Which dance fits the music better?)",
    )
    build.add_argument("--title", default="Which dance fits the music?")
    build.add_argument(
        "--trials-per-rater", type=int, default=40, help="pairs a participant sees; 0: all"
    )
    build.add_argument("--clips", type=int, default=0, help="draw this many clips; 0: all")
    build.add_argument("--checks", type=int, default=4, help="pairs with a known answer")
    build.add_argument("--repeats", type=int, default=3, help="pairs asked twice, sides swapped")
    build.add_argument("--ties", action="store_true", help="offer `No difference`")
    build.add_argument("--seed", type=int, default=0)

    analyse = actions.add_parser("analyse", help="count the answers")
    analyse.add_argument("study", type=Path, help="the study's folder or its key.json")
    analyse.add_argument("--answers", type=Path, required=True, help="folder of JSON files")
    analyse.add_argument(
        "--metrics",
        action="append",
        default=[],
        metavar="METHOD=CSV",
        help="per-clip scores of a method, as `dabfusion evaluate` writes them (repeat)",
    )
    analyse.add_argument("--out", type=Path, help="folder of the report (default: STUDY/report)")
    analyse.add_argument(
        "--max-failed",
        type=float,
        default=0.25,
        help="leave out raters who fail more than this share of the checks (default: 0.25)",
    )
    analyse.add_argument("--draws", type=int, default=1000, help="bootstrap draws")
    analyse.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> int:
    """Dispatch to the action."""
    return _build(args) if args.action == "build" else _analyse(args)


def _build(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from experiments.studies.raters.build import Question, StudyPlan, build_study

    methods = {name: Path(folder) for name, folder in _named(args.method, "--method").items()}
    asked = _named(args.question, "--question")
    questions = tuple(Question(name, text) for name, text in asked.items())
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
    with Progress(transient=True) as bar:
        task = bar.add_task("encoding videos", total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        page = build_study(args.out, methods, plan, advance)
    console = Console()
    console.print(f"Hand out: {page.parent}  (participants open {page.name})", soft_wrap=True)
    console.print(f"Keep to yourself: {args.out / 'key.json'}", soft_wrap=True)
    return 0


def _analyse(args: argparse.Namespace) -> int:
    from rich.console import Console

    from experiments.studies.raters.analysis import AnalysisOptions, analyse_study
    from experiments.studies.raters.build import load_key
    from experiments.studies.raters.report import write_report

    key = load_key(args.study)
    metrics = {name: Path(path) for name, path in _named(args.metrics, "--metrics").items()}
    options = AnalysisOptions(max_failed=args.max_failed, draws=args.draws, seed=args.seed)
    analysis = analyse_study(key, args.answers, metrics, options)
    folder = args.study if args.study.is_dir() else args.study.parent
    report = write_report(analysis, args.out or folder / "report")
    console = Console()
    console.print(report.read_text("utf-8"), markup=False, highlight=False, soft_wrap=True)
    console.print(f"Report: {report}", soft_wrap=True)
    return 0


def _named(entries: list[str], option: str) -> dict[str, str]:
    from experiments.errors import SettingsError

    named: dict[str, str] = {}
    for entry in entries:
        name, sign, value = entry.partition("=")
        if not (name and sign and value):
            raise SettingsError(
                f"{option} {entry!r} is not NAME=VALUE; write for example a=folder."
            )
        if name in named:
            raise SettingsError(f"{option} names {name!r} twice; give each its own name.")
        named[name] = value
    return named
