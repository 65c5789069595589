"""`dabfusion compare`: runs next to one another on one page."""

import argparse
from pathlib import Path

HELP = """Compare runs on one page: settings, scores, curves, synchronized videos and cost.

The page works without a network. Runs that were scored by different protocols are listed in
separate tables."""

EXAMPLES = [
    "dabfusion compare runs/beats runs/no-beats --out report.html",
    "dabfusion compare runs --baseline no-beats            # every run below a folder",
]
EMBED_HELP = "embed the videos up to this total size, otherwise link them (default: 40)"
REPORT_HELP = (
    "also create a Weights & Biases report in the project that the runs were logged to (needs "
    "`wandb login` and the package wandb-workspaces)"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, or folders of them")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="the page to write")
    parser.add_argument("--title", default="Comparison of runs", help="title of the page")
    parser.add_argument("--baseline", help="run that others are compared to (default: the first)")
    parser.add_argument("--clips", type=int, default=8, help="clips shown as videos (default: 8)")
    parser.add_argument("--embed-mb", type=float, default=40.0, help=EMBED_HELP)
    parser.add_argument("--wandb", metavar="PROJECT", help="also log the page to this W&B project")
    parser.add_argument("--wandb-report", metavar="PROJECT", help=REPORT_HELP)


def run(args: argparse.Namespace) -> int:
    """Write the page."""
    from experiments.errors import SettingsError
    from experiments.reports.compare import compare_runs

    if args.clips < 0 or args.embed_mb < 0:
        raise SettingsError(
            f"--clips is {args.clips} and --embed-mb {args.embed_mb:g}; neither may be negative."
        )
    done = compare_runs(
        args.runs,
        args.out,
        title=args.title,
        baseline=args.baseline,
        embed_mb=args.embed_mb,
        max_clips=args.clips,
    )
    videos = f"{done.videos} videos {'embedded' if done.embedded else 'linked'}"
    print(f"{args.out}: {done.runs} runs, {videos}")
    if done.protocols > 1:
        print(f"The runs were scored by {done.protocols} protocols; each has its own table.")
    if args.wandb or args.wandb_report:
        from experiments.reports.wandb_report import log_page, report_runs

        if args.wandb:
            log_page(args.out, args.wandb, args.title)
        if args.wandb_report:
            print(f"Report: {report_runs(args.runs, args.wandb_report, args.title)}")
    return 0
