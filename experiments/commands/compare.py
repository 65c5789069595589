"""`dabfusion compare`: one page for two runs or fifty."""

import argparse
from pathlib import Path

HELP = """Compare runs on one page: settings, scores, curves, videos in sync, cost.

The page needs no network. Runs that were scored by different protocols are set apart, not mixed."""

EXAMPLES = [
    "dabfusion compare runs/beats runs/no-beats --out report.html",
    "dabfusion compare runs --baseline no-beats            # every run below a folder",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, or folders of them")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="the page to write")
    parser.add_argument("--title", default="Comparison of runs")
    parser.add_argument("--baseline", help="run that the others are compared to (default: first)")
    parser.add_argument("--clips", type=int, default=8, help="clips shown as videos (default: 8)")
    parser.add_argument(
        "--embed-mb",
        type=float,
        default=40.0,
        help="put the videos into the page up to this size in all, else link them (default: 40)",
    )
    parser.add_argument(
        "--wandb",
        metavar="PROJECT",
        help="also log the page to a Weights & Biases project (offline where not logged in)",
    )
    parser.add_argument(
        "--wandb-report",
        metavar="PROJECT",
        help="also make a report of the runs in the Weights & Biases project that they logged to "
        "(needs `wandb login` and the package wandb-workspaces)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the page."""
    from experiments.errors import SettingsError
    from experiments.reports.compare import CompareOptions, compare_runs

    if args.clips < 0 or args.embed_mb < 0:
        raise SettingsError(
            f"--clips is {args.clips} and --embed-mb {args.embed_mb:g}, but neither can be below 0."
        )
    options = CompareOptions(
        title=args.title, baseline=args.baseline, embed_mb=args.embed_mb, clips=args.clips
    )
    done = compare_runs(args.runs, args.out, options)
    videos = f"{done.videos} videos {'inside' if done.embedded else 'linked'}"
    print(f"{args.out}: {done.runs} runs, {videos}")
    if done.protocols > 1:
        print(f"The runs were scored by {done.protocols} protocols; each has its own table.")
    if args.wandb:
        from experiments.reports.wandb_report import log_page

        log_page(args.out, args.wandb, args.title)
    if args.wandb_report:
        from experiments.reports.wandb_report import report_runs

        print(f"Report: {report_runs(args.runs, args.wandb_report, args.title)}")
    return 0
