"""Data: preparing videos compared to decoding them, loading clips compared to reading them."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from experiments.arguments import UsageError
from experiments.benchmarks.harness import print_table

HELP = """Data: preparing videos compared to decoding them, loading clips to reading them.

Renders videos (or uses those of an earlier run, see --folder), prepares them, loads clips from the
prepared folder, and loads an index of 40,000 videos."""
EXAMPLES = [
    "dabfusion benchmark data --distinct 4 --json data.json",
    "dabfusion benchmark data --videos 3 --seconds 4 --fps 10 --height 90 --clips 16   # a trial",
]
SIZE, FRAMES, FPS = 128, 40, 10.0
INDEX_ROWS = 40_000
#: What the numbers are compared to.
BARS = {
    "prepare": {
        "cpu_share": "above 0.85",
        "cpu_share_wanted": "above 0.85",
        "cost_against_decoding": "at most 1.3",
    },
    "load": {
        "clips_per_minute_per_core": "at least 3000",
        "ratio_to_decord": "at least 0.7",
        "ratio_to_av": "at least 0.7",
    },
    "index": {"load_s": "below 1"},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the benchmark's arguments."""
    for option, kind, default, text in (
        ("--videos", int, 40, "videos to prepare"),
        ("--distinct", int, 0, "how many of them are rendered, the others are copies; 0: all"),
        ("--seconds", float, 8.0, "length of each"),
        ("--fps", int, 60, "their frames a second"),
        ("--height", int, 1080, "their height in pixels"),
        ("--workers", int, 0, "processes; 0: one a core"),
        ("--clips", int, 400, "clips to load"),
    ):
        parser.add_argument(option, type=kind, default=default, help=f"{text} ({default})")
    parser.add_argument("--folder", type=Path, help="keep the rendered videos here, or reuse them")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings, the load of the machine, and the numbers of the three parts."""
    if args.seconds * FPS < FRAMES or args.videos < 1 or args.clips < 1:
        raise UsageError("--seconds must be 4 or more, --videos and --clips at least 1.")
    workers = args.workers or len(os.sched_getaffinity(0))
    distinct = min(args.distinct or args.videos, args.videos)
    import torch

    torch.set_num_threads(1)
    from datamodules.index import DatasetSettings
    from datamodules.windows import WindowRule
    from experiments.benchmarks.data_load import measure_index, measure_load
    from experiments.benchmarks.data_prepare import measure_prepare, render_videos

    settings = {
        **{name: getattr(args, name) for name in ("videos", "seconds", "fps", "height", "clips")},
        "distinct": distinct,
        "workers": workers,
    }
    with tempfile.TemporaryDirectory(prefix="dabfusion-benchmark-") as scratch:
        folder, prepared = Path(scratch), Path(scratch) / "prepared"
        videos = render_videos(
            args.folder or folder, args.videos, args.seconds, args.fps, args.height, distinct
        )
        numbers: dict[str, Any] = {
            "settings": settings,
            "load_average_before": os.getloadavg()[0],
            "prepare": measure_prepare(videos, prepared, DatasetSettings(FPS, SIZE), workers),
            "load": measure_load(prepared, WindowRule(FRAMES, stride=5, fps=FPS), args.clips),
            "index": measure_index(prepared, folder / "index", INDEX_ROWS),
        }
    for part, bars in BARS.items():
        rows = [
            (name.replace("_", " "), f"{value:.4g}", bars.get(name, ""))
            for name, value in numbers[part].items()
        ]
        print_table((part, "", "bar"), rows)
    return numbers
