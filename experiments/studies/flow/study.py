"""`dabfusion study flow`: how accurate is the latent flow of stage 1?"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

HELP = """How accurate is the flow of stage 1? Errors against the true flow and optical flow.

The true flow of rendered dancers is known: end-point and angular errors, hidden areas, frames,
motion over time, poses in between, and whether timing is preserved, by genre and speed. Other runs
can be compared (--beside, --curves, --losses). On real clips (--videos) the flow is compared to
OpenCV's. Baseline: copying the reference, which is zero flow. Writes report.md, PNG files and
results.json."""
EXAMPLES = [
    "dabfusion study flow runs/autoencoder --size 64",
    "dabfusion study flow runs/autoencoder --videos my_videos --videos-size 128",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the study's arguments."""
    parser.add_argument("autoencoder", type=Path, help="run or export folder of stage 1")
    parser.add_argument("--clips", type=int, default=40, help="rendered dances (default: 40)")
    parser.add_argument("--frames", type=int, default=20, help="frames a clip (default: 20)")
    parser.add_argument("--size", type=int, default=64, help="pixels of a side (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the rendered set")
    for option, what in (
        ("--beside", "runs to measure on the same dances"),
        ("--curves", "more runs whose validation is drawn over steps"),
        ("--losses", "runs with other losses, the default one first"),
    ):
        parser.add_argument(option, type=Path, nargs="+", default=[], metavar="RUN", help=what)
    parser.add_argument(
        "--videos", type=Path, help="folder of videos (any names) to compare with optical flow on"
    )
    parser.add_argument("--videos-autoencoder", type=Path, help="stage 1 for them (the same one)")
    parser.add_argument("--videos-size", type=int, help="pixels of a side for them (as --size)")
    parser.add_argument("--out", type=Path, default=Path("flow-study"), help="where to write")


def run(args: argparse.Namespace) -> int:
    """Measure and write the report."""
    from experiments.errors import SettingsError
    from experiments.studies.flow import figures, measure, report
    from experiments.studies.page import write_results
    from lightning_modules.checkpoints import load_autoencoder, read_metadata

    if args.clips < 2 or args.frames < 4:
        raise SettingsError(
            f"--clips is {args.clips} and --frames {args.frames}; expected at least 2 and 4."
        )
    paths = [args.autoencoder, *args.beside]
    runs = [report.read_run(path) for path in paths] if args.beside else []
    titles = [run["title"] for run in runs] or ["found"]
    curves = [*runs, *map(report.read_run, args.curves)]
    losses = list(map(report.read_run, args.losses))
    videos_from = args.videos_autoencoder or args.autoencoder
    videos_size = args.videos_size or args.size
    videos = measure.read_videos(args.videos, args.frames, videos_size) if args.videos else {}
    specs = measure.dance_specs(args.seed, args.clips, args.frames, args.size)
    networks = [load_autoencoder(path) for path in paths]
    rows = [
        _each("Rendered dances", partial(measure.measure_dance, network), specs)
        for network in networks
    ]
    real: list[dict[str, Any]] = []
    if videos:
        network = load_autoencoder(videos_from)
        real = _each("Videos", partial(measure.measure_video, network), list(videos.items()))
        figures.draw_video_flows(network, videos, args.out / "videos.png")
    means = [{name: vars(mean) for name, mean in report.summaries(row).items()} for row in rows]
    results = {
        "settings": {
            "run": report.describe(args.autoencoder),
            "autoencoder": read_metadata(args.autoencoder)["digest"],
            **{name: getattr(args, name) for name in ("clips", "frames", "size", "seed")},
            "videos_run": report.describe(videos_from),
            "videos_size": videos_size,
        },
        "rendered": means[0],
        "beside": dict(zip(titles, means, strict=True)) if runs else {},
        "curves": {run["title"]: run["curve"] for run in curves},
        "losses": [{"settings": run["settings"], "val": run["val"]} for run in losses],
        "real": {name: vars(mean) for name, mean in report.summaries(real).items()},
        "clips": rows[0] + real,
    }
    text = report.page(results, args.command)
    write_results(args.out, text, results, ("report.md", "results.json"))
    figures.draw_groups(rows[0], args.out / "flow.png")
    if curves:
        figures.draw_curves(curves, args.out / "curves.png")
    titled = dict(zip(titles, networks, strict=True))
    figures.draw_dancers(titled, specs[0], args.out / "dancers.png")
    print(text.split("\n## ")[1])
    print(f"Written to {args.out}: report.md, its figures, results.json")
    return 0


def _each(title: str, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
    """Return the results of a function for all items, while a progress bar is shown."""
    from experiments.processes.progress import shown_progress

    found = []
    with shown_progress(title) as progress:
        for item in items:
            found.append(function(*item) if isinstance(item, tuple) else function(item))
            progress(len(found), len(items))
    return found
